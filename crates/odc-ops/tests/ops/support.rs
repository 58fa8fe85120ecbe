//! Random tensors, and gradients by finite differences.

use candle_core::{Device, Result, Tensor, Var};
use odc_kernels::random;

/// Standard normal values of a stream.
pub(crate) fn values(stream: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|index| random::normal(random::key(7, "test", stream), index)).collect()
}

/// A tensor of standard normal values.
pub(crate) fn tensor(stream: u64, dims: &[usize]) -> Tensor {
    Tensor::from_vec(values(stream, dims.iter().product()), dims, &Device::Cpu).expect("a tensor")
}

/// A variable of standard normal values.
pub(crate) fn variable(stream: u64, dims: &[usize]) -> Var {
    Var::from_tensor(&tensor(stream, dims)).expect("a variable")
}

/// All values of a tensor.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values")
}

/// `Σ y · r` with fixed random r: a scalar whose gradient exercises all of y's.
pub(crate) fn score(y: &Tensor) -> Result<Tensor> {
    (y * tensor(99, y.dims()))?.sum_all()
}

/// The score in f64, for differences: f32 sums would drown them.
fn precise_score(y: &Tensor) -> f64 {
    flat(y).iter().zip(values(99, y.elem_count())).map(|(&y, r)| f64::from(y) * f64::from(r)).sum()
}

/// Compares the gradients of `score(f(inputs))` by all inputs with central differences of width 2·`step`, for up to 24
/// elements of each input. `tolerance` is relative to the largest gradient of the input.
pub(crate) fn check_gradients(
    what: &str,
    inputs: &[Var],
    step: f32,
    tolerance: f64,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let as_tensors = |inputs: &[Var]| inputs.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    let y = f(&as_tensors(inputs)).expect("forward");
    let gradients = score(&y).and_then(|score| score.backward()).expect("backward");
    for (number, input) in inputs.iter().enumerate() {
        let gradient = flat(gradients.get(input).unwrap_or_else(|| panic!("{what}: no gradient for input {number}")));
        assert_eq!(gradient.len(), input.elem_count(), "{what}: gradient of input {number}");
        let largest = gradient.iter().fold(1e-3_f64, |largest, &x| largest.max(f64::from(x).abs()));
        let original = flat(input);
        let stride = original.len().div_ceil(24);
        for position in (0..original.len()).step_by(stride) {
            let at = |offset: f32| {
                let mut moved = original.clone();
                moved[position] += offset;
                let moved = Tensor::from_vec(moved, input.dims(), &Device::Cpu).expect("a tensor");
                let mut tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().detach()).collect();
                tensors[number] = moved;
                precise_score(&f(&tensors).expect("forward"))
            };
            let width = f64::from(original[position] + step) - f64::from(original[position] - step);
            let numeric = (at(step) - at(-step)) / width;
            let error = (numeric - f64::from(gradient[position])).abs() / largest;
            assert!(
                error <= tolerance,
                "{what}: gradient {number}[{position}] is {}, differences say {numeric} ({error:e} > {tolerance:e})",
                gradient[position]
            );
        }
    }
}
