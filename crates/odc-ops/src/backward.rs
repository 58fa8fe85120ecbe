//! The backward pass over graphs made of this crate's operations.
//!
//! candle's own `Tensor::backward` is right but dear: at every node it adds the gradient to a fresh tensor of zeros, on threads
//! of its own that spin while they wait, whatever else the machine has to do. Here a gradient is passed on as it is, and two
//! are added (by odc-kernels, in the current rayon pool) only where a tensor was used twice, one into the other.
//!
//! candle tells nobody which operation made a tensor. So each operation of this crate notes its arguments when it is
//! applied, under the id of its result; the note lives as long as the result's place in candle's graph.

use crate::elementwise::{add_assign, sum};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, TensorId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// The gradients of all variables that a scalar depends on: what `loss.backward()` gives, faster.
///
/// Where other operations of candle took part between a variable and the loss, candle's backward pass does all of it.
///
/// # Errors
/// What the operations' gradients give.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let Some(steps) = steps(loss) else { return loss.backward() };
    let mut gradients = HashMap::from([(loss.id(), Part::shared(loss.ones_like()?.detach()))]);
    let mut store = GradStore::default();
    for (result, step) in steps {
        let Some(Part { gradient, .. }) = gradients.remove(&result.id()) else { continue };
        let parts = step.backward(&result, &gradient)?;
        // Two arguments may be given one tensor.
        let is_shared = |part: &Tensor| {
            part.id() == gradient.id() || parts.iter().flatten().filter(|other| other.id() == part.id()).count() > 1
        };
        for (argument, part) in step.arguments().iter().zip(&parts) {
            let Some(part) = part.as_ref().filter(|_| argument.track_op()) else { continue };
            let part = Part { gradient: part.clone(), is_shared: is_shared(part) };
            let total = match gradients.remove(&argument.id()) {
                Some(other) => other.plus(part)?,
                None => part,
            };
            gradients.insert(argument.id(), total);
        }
    }
    // Whatever is left belongs to no step's result: to variables.
    for (variable, part) in gradients {
        store.insert_id(variable, part.gradient);
    }
    Ok(store)
}

/// A gradient on its way back.
///
/// The gradient that an operation gives is either the one it was given, or the only tensor that uses its storage. So a sum can be
/// made in the storage of either part unless that part was passed on by an operation.
struct Part {
    gradient: Tensor,
    is_shared: bool,
}

impl Part {
    fn shared(gradient: Tensor) -> Self {
        Self { gradient, is_shared: true }
    }

    fn plus(self, other: Self) -> Result<Self> {
        let (a, b) = if self.is_shared { (other, self) } else { (self, other) };
        if a.is_shared || !a.gradient.is_contiguous() {
            return Ok(Self { gradient: sum(&a.gradient, &b.gradient)?, is_shared: false });
        }
        add_assign(&a.gradient, &b.gradient)?;
        Ok(a)
    }
}

/// Applies an operation and notes it for [`backward`].
pub(crate) fn apply1<C: CustomOp1 + Send + Sync + 'static>(x: &Tensor, op: C) -> Result<Tensor> {
    let step = Arc::new(Step::new(op, [x]));
    note(x.apply_op1(Handle(step.clone()))?, step)
}

/// As [`apply1`], with two arguments.
pub(crate) fn apply2<C: CustomOp2 + Send + Sync + 'static>(a: &Tensor, b: &Tensor, op: C) -> Result<Tensor> {
    let step = Arc::new(Step::new(op, [a, b]));
    note(a.apply_op2(b, Handle(step.clone()))?, step)
}

/// As [`apply1`], with three arguments.
pub(crate) fn apply3<C: CustomOp3 + Send + Sync + 'static>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    op: C,
) -> Result<Tensor> {
    let step = Arc::new(Step::new(op, [a, b, c]));
    note(a.apply_op3(b, c, Handle(step.clone()))?, step)
}

/// An operation as it was applied.
struct Step<C, const N: usize> {
    op: C,
    arguments: [Tensor; N],
    result: OnceLock<TensorId>,
}

/// What candle's graph holds of a step: when the last graph lets go, the note of it goes as well.
struct Handle<C, const N: usize>(Arc<Step<C, N>>);

/// A step, whatever its operation.
trait Noted: Send + Sync {
    fn arguments(&self) -> &[Tensor];

    /// The gradient by each argument, given the result and the gradient by it.
    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// The steps of all living graphs, by the tensor they made.
static NOTES: LazyLock<Mutex<HashMap<TensorId, Weak<dyn Noted>>>> = LazyLock::new(Mutex::default);

fn notes() -> MutexGuard<'static, HashMap<TensorId, Weak<dyn Noted>>> {
    // A panic elsewhere leaves the map whole: each change is a single call.
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note<C: Send + Sync + 'static, const N: usize>(result: Tensor, step: Arc<Step<C, N>>) -> Result<Tensor>
where
    Step<C, N>: Noted,
{
    if result.track_op() && step.result.set(result.id()).is_ok() {
        let step: Arc<dyn Noted> = step;
        notes().insert(result.id(), Arc::downgrade(&step));
    }
    Ok(result)
}

/// A tensor on the way back, and the step that made it.
type Node = (Tensor, Arc<dyn Noted>);

/// The steps between the variables and the loss, the last first, each after all that use its result. `None` where a tensor
/// that depends on a variable was made by no noted step.
fn steps(loss: &Tensor) -> Option<Vec<Node>> {
    let notes = notes();
    let find = |tensor: &Tensor| notes.get(&tensor.id()).and_then(Weak::upgrade);
    let mut ordered = Vec::new();
    let mut seen = HashSet::from([loss.id()]);
    // Depth first without recursion: each entry is a tensor, its step, and how many arguments have been visited.
    let mut path = vec![(loss.clone(), find(loss)?, 0)];
    while let Some((tensor, step, visited)) = path.last_mut() {
        let Some(argument) = step.arguments().get(*visited).cloned() else {
            ordered.push((tensor.clone(), step.clone()));
            path.pop();
            continue;
        };
        *visited += 1;
        if argument.track_op() && !argument.is_variable() && seen.insert(argument.id()) {
            let step = find(&argument)?;
            path.push((argument, step, 0));
        }
    }
    ordered.reverse();
    Some(ordered)
}

impl<C, const N: usize> Step<C, N> {
    fn new(op: C, arguments: [&Tensor; N]) -> Self {
        Self { op, arguments: arguments.map(Tensor::clone), result: OnceLock::new() }
    }
}

impl<C, const N: usize> Drop for Step<C, N> {
    fn drop(&mut self) {
        if let Some(result) = self.result.get() {
            notes().remove(result);
        }
    }
}

impl<C: CustomOp1 + Send + Sync> Noted for Step<C, 1> {
    fn arguments(&self) -> &[Tensor] {
        &self.arguments
    }

    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = &self.arguments;
        Ok(vec![self.op.bwd(x, result, gradient)?])
    }
}

impl<C: CustomOp2 + Send + Sync> Noted for Step<C, 2> {
    fn arguments(&self) -> &[Tensor] {
        &self.arguments
    }

    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [a, b] = &self.arguments;
        let (by_a, by_b) = self.op.bwd(a, b, result, gradient)?;
        Ok(vec![by_a, by_b])
    }
}

impl<C: CustomOp3 + Send + Sync> Noted for Step<C, 3> {
    fn arguments(&self) -> &[Tensor] {
        &self.arguments
    }

    fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [a, b, c] = &self.arguments;
        let (by_a, by_b, by_c) = self.op.bwd(a, b, c, result, gradient)?;
        Ok(vec![by_a, by_b, by_c])
    }
}

impl<C: CustomOp1> CustomOp1 for Handle<C, 1> {
    fn name(&self) -> &'static str {
        self.0.op.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.op.cpu_fwd(x, xl)
    }

    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.op.cuda_fwd(x, xl)
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.0.op.bwd(x, result, gradient)
    }
}

impl<C: CustomOp2> CustomOp2 for Handle<C, 2> {
    fn name(&self) -> &'static str {
        self.0.op.name()
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.op.cpu_fwd(a, al, b, bl)
    }

    fn cuda_fwd(&self, a: &CudaStorage, al: &Layout, b: &CudaStorage, bl: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.op.cuda_fwd(a, al, b, bl)
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.0.op.bwd(a, b, y, gradient)
    }
}

impl<C: CustomOp3> CustomOp3 for Handle<C, 3> {
    fn name(&self) -> &'static str {
        self.0.op.name()
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
        c: &CpuStorage,
        cl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.op.cpu_fwd(a, al, b, bl, c, cl)
    }

    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        al: &Layout,
        b: &CudaStorage,
        bl: &Layout,
        c: &CudaStorage,
        cl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.op.cuda_fwd(a, al, b, bl, c, cl)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.0.op.bwd(a, b, c, y, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn a_note_lives_as_long_as_its_graph() -> Result<()> {
        let x = Var::new(&[1.0_f32, -2.0], &Device::Cpu)?;
        let noted = |tensor: &Tensor| notes().contains_key(&tensor.id());
        let y = crate::relu(&x)?;
        let z = crate::add(&y, &y)?;
        assert!(noted(&y) && noted(&z));
        let (y_id, kept) = (y.id(), z.detach());
        drop(y);
        assert!(notes().contains_key(&y_id), "z's graph needs it");
        drop(z);
        assert!(!notes().contains_key(&y_id), "nothing needs it, {kept} is detached");
        assert!(!noted(&crate::relu(&kept)?), "nothing to differentiate");
        Ok(())
    }
}
