//! The named, ordered tensors of a network: what an optimiser moves, what a file and a checkpoint hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use candle_core::{DType, Device, Result, Tensor, Var, bail};

/// Parameters and buffers in the order of PyTorch's `state_dict`, with the names of torchvision (ResNet) or DeepCluster
/// (AlexNet).
///
/// Cloning is cheap and shares the tensors.
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<Entry>,
    positions: HashMap<String, usize>,
    about: BTreeMap<String, String>,
}

/// One named tensor.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    value: Value,
}

/// What an entry is; this decides who changes it and how it lies in a file.
#[derive(Clone, Debug)]
pub enum Value {
    /// A convolution's weights, trained: `[kh, kw, Ci, Co]` in memory, `[Co, Ci, kh, kw]` in files.
    Convolution(Var),
    /// Weights of a linear layer over a flattened map, trained: columns `(h, w, C)` in memory, `(C, h, w)` in files.
    OverMap {
        /// `[outputs, side · side · channels]`.
        weight: Var,
        /// Height and width of the map.
        side: usize,
    },
    /// Any other trained parameter: the same in memory and in files.
    Parameter(Var),
    /// A convolution's weights that are never trained; it lies as `Convolution` does.
    FrozenConvolution(Var),
    /// Any other parameter that is never trained: the same in memory and in files.
    Frozen(Var),
    /// A running mean or variance of batch norm, `[C]`.
    Statistic(Var),
    /// `num_batches_tracked` of batch norm: how many batches the running statistics have seen. An i64 scalar in files.
    Counter(Arc<AtomicI64>),
}

impl Params {
    /// All entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.positions.get(name).map(|position| &self.entries[*position])
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(Entry::name)
    }

    /// The variables that an optimiser moves, in order.
    pub fn trainable(&self) -> Vec<Var> {
        self.entries.iter().filter_map(Entry::trainable).cloned().collect()
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.entries.iter().filter_map(Entry::trainable).map(|parameter| parameter.elem_count()).sum()
    }

    /// What the network is, as key and value (`arch`, `width`, `stem`, `sobel`): goes into the header of weight files.
    pub fn about(&self) -> &BTreeMap<String, String> {
        &self.about
    }

    /// An exact copy of everything by name, in order, on the CPU and in the layout of files: with
    /// [`Params::set`] all that a checkpoint needs.
    ///
    /// # Errors
    /// From candle, where a tensor cannot be copied.
    pub fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.entries.iter().map(|entry| Ok((entry.name.clone(), entry.to_file_layout()?))).collect()
    }

    /// Copies a tensor in the layout of files into the entry of this name.
    ///
    /// # Errors
    /// Where there is no such name, or the shape differs; both shapes are in the message.
    pub fn set(&self, name: &str, tensor: &Tensor) -> Result<()> {
        match self.get(name) {
            Some(entry) => entry.set_from_file_layout(tensor),
            None => bail!("the network has no parameter {name:?}"),
        }
    }

    /// Several sets as one, each under a prefix such as `backbone.`; tensors are shared.
    pub(crate) fn joined(parts: &[(&str, &Self)]) -> Self {
        let mut joined = Self::default();
        for (prefix, part) in parts {
            for entry in &part.entries {
                joined.push(format!("{prefix}{}", entry.name), entry.value.clone());
            }
            joined.about.extend(part.about.clone());
        }
        joined
    }

    pub(crate) fn push(&mut self, name: String, value: Value) {
        let earlier = self.positions.insert(name.clone(), self.entries.len());
        debug_assert!(earlier.is_none(), "{name} is there twice");
        self.entries.push(Entry { name, value });
    }

    pub(crate) fn describe(&mut self, key: &str, value: impl ToString) {
        self.about.insert(key.to_owned(), value.to_string());
    }
}

impl Entry {
    /// The name, as in PyTorch's `state_dict`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, and its tensor.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The variable, if an optimiser moves it.
    pub fn trainable(&self) -> Option<&Var> {
        match &self.value {
            Value::Convolution(var) | Value::OverMap { weight: var, .. } | Value::Parameter(var) => Some(var),
            Value::FrozenConvolution(_) | Value::Frozen(_) | Value::Statistic(_) | Value::Counter(_) => None,
        }
    }

    /// Its shape in files: `[Co, Ci, kh, kw]` for a convolution, `[]` for a counter.
    pub fn file_shape(&self) -> Vec<usize> {
        match &self.value {
            Value::Convolution(var) | Value::FrozenConvolution(var) => {
                FILE_FROM_MEMORY.iter().map(|axis| var.dims()[*axis]).collect()
            }
            Value::OverMap { weight: var, .. } | Value::Parameter(var) | Value::Frozen(var) | Value::Statistic(var) => {
                var.dims().to_vec()
            }
            Value::Counter(_) => Vec::new(),
        }
    }

    /// An exact copy on the CPU in the layout of files: f32, or an i64 scalar for a counter.
    ///
    /// # Errors
    /// From candle, where the tensor cannot be copied.
    pub fn to_file_layout(&self) -> Result<Tensor> {
        match &self.value {
            Value::Convolution(var) | Value::FrozenConvolution(var) => {
                var.as_detached_tensor().permute(FILE_FROM_MEMORY)?.force_contiguous()?.to_device(&Device::Cpu)
            }
            Value::OverMap { weight, side } => {
                let (outputs, columns) = weight.dims2()?;
                let map = weight.as_detached_tensor().reshape((outputs, *side, *side, ()))?;
                let map = map.permute((0, 3, 1, 2))?.force_contiguous()?;
                map.reshape((outputs, columns))?.to_device(&Device::Cpu)
            }
            Value::Parameter(var) | Value::Frozen(var) | Value::Statistic(var) => {
                var.as_detached_tensor().force_contiguous()?.to_device(&Device::Cpu)
            }
            Value::Counter(count) => Tensor::new(count.load(Ordering::Relaxed), &Device::Cpu),
        }
    }

    /// Copies in a tensor that lies as in a file; numbers of another type are converted.
    ///
    /// # Errors
    /// Where the shape is not [`Entry::file_shape`].
    pub fn set_from_file_layout(&self, tensor: &Tensor) -> Result<()> {
        let expected = self.file_shape();
        if tensor.dims() != expected {
            bail!("{}: the network's shape is {expected:?}, the given tensor's is {:?}", self.name, tensor.dims());
        }
        match &self.value {
            Value::Convolution(var) | Value::FrozenConvolution(var) => {
                var.set(&float(tensor, var.device())?.permute(MEMORY_FROM_FILE)?.force_contiguous()?)
            }
            Value::OverMap { weight, side } => weight.set(&over_map(&float(tensor, weight.device())?, *side)?),
            Value::Parameter(var) | Value::Frozen(var) | Value::Statistic(var) => {
                var.set(&float(tensor, var.device())?.force_contiguous()?)
            }
            Value::Counter(count) => {
                count.store(tensor.to_dtype(DType::I64)?.to_scalar::<i64>()?, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// OIHW from HWIO: which axis of memory is each axis of a file.
const FILE_FROM_MEMORY: [usize; 4] = [3, 2, 0, 1];
/// HWIO from OIHW.
const MEMORY_FROM_FILE: [usize; 4] = [2, 3, 1, 0];

/// Columns `(C, h, w)` to `(h, w, C)`.
pub(crate) fn over_map(weight: &Tensor, side: usize) -> Result<Tensor> {
    let (outputs, columns) = weight.dims2()?;
    let map = weight.force_contiguous()?.reshape((outputs, (), side, side))?;
    map.permute((0, 2, 3, 1))?.force_contiguous()?.reshape((outputs, columns))
}

fn float(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    tensor.detach().to_dtype(DType::F32)?.to_device(device)
}
