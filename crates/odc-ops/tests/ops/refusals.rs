//! What cannot be computed is refused with a message that names the thing and its value.

use crate::support::{tensor, variable};
use candle_core::{Device, Result, Tensor};

fn message(result: Result<Tensor>) -> String {
    result.expect_err("a refusal").to_string()
}

#[test]
fn shapes_that_do_not_fit() {
    let x = tensor(1, &[2, 6, 5, 3]);
    assert!(message(odc_ops::conv2d(&x, &tensor(2, &[3, 3, 4, 8]), 1, 1)).contains("3 channels"));
    assert!(message(odc_ops::conv2d(&x, &tensor(2, &[3, 3, 3, 8]), 0, 1)).contains("stride"));
    assert!(message(odc_ops::conv2d(&x, &tensor(2, &[7, 7, 3, 8]), 1, 0)).contains("7"));
    assert!(message(odc_ops::max_pool2d(&x, 17, 1, 8)).contains("17"));
    assert!(message(odc_ops::max_pool2d(&x, 3, 2, 2)).contains("padding 2"));
    assert!(message(odc_ops::add(&x, &tensor(2, &[2, 6, 5, 4]))).contains("differ"));
    assert!(message(odc_ops::linear(&tensor(1, &[2, 3]), &tensor(2, &[4, 5]), None)).contains("[outputs, inputs]"));
    assert!(
        message(odc_ops::linear(&tensor(1, &[2, 3]), &tensor(2, &[4, 3]), Some(&tensor(3, &[3])))).contains("bias")
    );
    assert!(message(odc_ops::dropout(&x, 1.0, 0)).contains("probability 1"));
    assert!(message(odc_ops::dropout_with_mask(&x, &tensor(2, &[2]))).contains("mask"));
    assert!(message(odc_ops::normalize_pixels(&x, [0.0; 3], [1.0; 3])).contains("u8"));
    let y = odc_ops::batch_norm_relu_train(&x, None, None, Some(&tensor(2, &[2, 6, 5, 4])), 1e-5);
    assert!(message(y.map(|(y, _)| y)).contains("residual"));
    assert!(odc_ops::update_running(&variable(1, &[3]), &tensor(2, &[4]), 0.1).is_err());
}

#[test]
fn a_batch_of_one_value_has_no_variance() {
    let one = odc_ops::batch_norm_train(&tensor(1, &[1, 5]), None, None, 1e-5).map(|(y, _)| y);
    assert!(message(one).contains("larger batch"));
    let x = tensor(1, &[4, 5]);
    assert!(
        message(odc_ops::batch_norm_train(&x, Some(&tensor(2, &[4])), None, 1e-5).map(|(y, _)| y)).contains("weight")
    );
    assert!(
        message(odc_ops::batch_norm_eval(&x, None, None, &tensor(2, &[4]), &tensor(3, &[5]), 1e-5)).contains("mean")
    );
}

#[test]
fn labels_out_of_range_and_weights_that_vanish() {
    let logits = tensor(1, &[2, 3]);
    let labels = |labels: [u32; 2]| Tensor::new(&labels, &Device::Cpu).expect("labels");
    let ones = Tensor::new(&[1.0_f32, 1.0, 0.0], &Device::Cpu).expect("weights");
    assert!(
        message(odc_ops::weighted_cross_entropy(&logits, &labels([0, 3]), &ones)).contains("label 3 at position 1")
    );
    assert!(message(odc_ops::weighted_cross_entropy(&logits, &labels([2, 2]), &ones)).contains("sum to 0"));
    assert!(message(odc_ops::weighted_cross_entropy(&logits, &labels([0, 1]), &tensor(2, &[4]))).contains("weight"));
}
