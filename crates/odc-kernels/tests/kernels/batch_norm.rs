//! Batch norm and what is fused with it against the naive twins: every level of instructions, any number of threads.

use crate::support::{Draw, same_bits_everywhere};
use odc_kernels::batch_norm::{self, Gradient, Then};
use odc_kernels::plain;
use odc_testkit::assert_close;

const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (1, 100),
    (12, 1),
    (7, 3),
    (1000, 16),
    (333, 17),
    (70_000, 3),
    (2100, 64),
    (5000, 70),
    (700, 100),
    (300, 300),
    (2, 2048),
];

/// What a layer holds.
struct Layer {
    x: Vec<f32>,
    residual: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
    dy: Vec<f32>,
}

impl Layer {
    fn new(rows: usize, channels: usize) -> Self {
        let mut draw = Draw::new((rows * 7919 + channels) as u64);
        let mut x = draw.values(rows * channels);
        for (index, x) in x.iter_mut().enumerate() {
            // Means far from zero must not cost digits.
            *x += (index % channels) as f32 * 3.0 - 20.0;
        }
        let (mean, inverse) = if rows > 1 {
            let [mean, inverse, _] = plain::batch_norm_statistics(&x, channels, 1e-5);
            (mean, inverse)
        } else {
            (draw.values(channels), vec![0.5; channels])
        };
        let (residual, dy) = (draw.values(x.len()), draw.values(x.len()));
        Self { x, residual, weight: draw.values(channels), bias: draw.values(channels), mean, inverse, dy }
    }

    fn forward(&self, then: Then<'_>) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.x.len()];
        batch_norm::normalize(&self.x, &self.mean, &self.inverse, &self.weight, &self.bias, then, &mut y);
        y
    }

    fn sums(&self, gradient: Gradient<'_>) -> Vec<f32> {
        let mut sums = vec![f32::NAN; 2 * self.mean.len()];
        batch_norm::backward_sums(&self.x, &self.mean, &self.inverse, gradient, &mut sums);
        sums
    }

    fn backward(&self, sums: &[f32], gradient: Gradient<'_>) -> Vec<f32> {
        let mut dx = vec![f32::NAN; self.x.len()];
        batch_norm::backward_train(&self.x, &self.mean, &self.inverse, &self.weight, sums, gradient, &mut dx);
        dx
    }
}

#[test]
fn statistics_agree_with_their_twin() {
    for (rows, channels) in SHAPES.into_iter().filter(|(rows, _)| *rows > 1) {
        let x = Layer::new(rows, channels).x;
        let expected = plain::batch_norm_statistics(&x, channels, 1e-5);
        let statistics = same_bits_everywhere("statistics", || {
            let mut statistics = vec![f32::NAN; 3 * channels];
            batch_norm::statistics(&x, channels, 1e-5, &mut statistics);
            statistics
        });
        assert_close("mean", &statistics[..channels], &expected[0], 1e-6);
        assert_close("inverse deviation", &statistics[channels..2 * channels], &expected[1], 1e-5);
        assert_close("unbiased variance", &statistics[2 * channels..], &expected[2], 1e-5);
    }
}

#[test]
fn a_constant_channel_has_variance_zero() {
    let mut statistics = vec![f32::NAN; 3];
    batch_norm::statistics(&[1234.567; 500], 1, 1e-5, &mut statistics);
    assert_eq!(statistics[0], 1234.567);
    assert_eq!(statistics[2], 0.0);
}

#[test]
fn forward_agrees_with_its_twin() {
    for (rows, channels) in SHAPES {
        let layer = Layer::new(rows, channels);
        let Layer { x, mean, inverse, weight, bias, .. } = &layer;
        for then in [Then::Nothing, Then::Relu, Then::AddRelu(&layer.residual)] {
            let y = same_bits_everywhere("forward", || layer.forward(then));
            let expected = plain::batch_norm(x, mean, inverse, weight, bias, then);
            assert_close(&format!("{rows} × {channels}, {then:?}"), &y, &expected, 1e-6);
        }
    }
}

#[test]
fn backward_agrees_with_its_twin() {
    for (rows, channels) in SHAPES {
        let layer = Layer::new(rows, channels);
        let Layer { x, mean, inverse, weight, dy, .. } = &layer;
        let y = layer.forward(Then::AddRelu(&layer.residual));
        for gradient in [Gradient::Plain(dy), Gradient::ThroughRelu { dy, y: &y }] {
            let [dx, dw, db] = plain::batch_norm_backward(x, mean, inverse, weight, gradient);
            let sums = same_bits_everywhere("sums", || layer.sums(gradient));
            assert_close("by weight", &sums[..channels], &dw, 1e-5);
            assert_close("by bias", &sums[channels..], &db, 1e-5);
            let by_x = same_bits_everywhere("by x", || layer.backward(&sums, gradient));
            assert_close(&format!("{rows} × {channels}"), &by_x, &dx, 1e-5);

            let constant = same_bits_everywhere("evaluation", || {
                let mut dx = vec![f32::NAN; x.len()];
                batch_norm::backward_eval(inverse, weight, gradient, &mut dx);
                dx
            });
            let scale = |index: usize| inverse[index % channels] * weight[index % channels];
            let expected = plain::masked(gradient).iter().enumerate().map(|(i, g)| g * scale(i)).collect::<Vec<_>>();
            assert_close("evaluation", &constant, &expected, 1e-6);
        }
    }
}

#[test]
fn the_residuals_gradient_comes_with_the_same_sums() {
    for (rows, channels) in SHAPES {
        let layer = Layer::new(rows, channels);
        let y = layer.forward(Then::AddRelu(&layer.residual));
        let gradient = Gradient::ThroughRelu { dy: &layer.dy, y: &y };
        let both = same_bits_everywhere("residual", || {
            let (mut masked, mut sums) = (vec![f32::NAN; y.len()], vec![f32::NAN; 2 * channels]);
            let Layer { x, mean, inverse, dy, .. } = &layer;
            batch_norm::backward_sums_and_residual(x, mean, inverse, (dy, &y), &mut masked, &mut sums);
            [masked, sums].concat()
        });
        assert_eq!(both[..y.len()], plain::masked(gradient));
        assert_eq!(both[y.len()..], layer.sums(gradient));
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let mut y = [0.0; 3];
    batch_norm::normalize(&[1.0, f32::NAN, -1.0], &[0.0], &[1.0], &[1.0], &[0.0], Then::Relu, &mut y);
    assert!(y[0] == 1.0 && y[1].is_nan() && y[2] == 0.0, "{y:?}");
}
