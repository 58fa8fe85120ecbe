//! The crate's backward pass against candle's: the same gradients, whatever the graph looks like.

use crate::support::{flat, tensor, variable};
use candle_core::{Device, Result, Tensor, Var};
use odc_testkit::assert_close;

/// Both passes give the same gradients for the same variables.
fn check(what: &str, loss: &Tensor, variables: &[Var]) -> Result<()> {
    let (ours, theirs) = (odc_ops::backward(loss)?, loss.backward()?);
    for (number, variable) in variables.iter().enumerate() {
        let theirs = theirs.get(variable).map(flat);
        let ours = ours.get(variable).map(flat);
        assert_eq!(ours.is_some(), theirs.is_some(), "{what}: variable {number}");
        assert_close(
            &format!("{what}: variable {number}"),
            &ours.unwrap_or_default(),
            &theirs.unwrap_or_default(),
            1e-6,
        );
    }
    assert!(ours.get_ids().all(|id| variables.iter().any(|variable| variable.id() == *id)), "{what}: only variables");
    Ok(())
}

fn labels_and_weights() -> Result<(Tensor, Tensor)> {
    let labels = Tensor::new(&[0_u32, 3, 1, 2, 2, 0], &Device::Cpu)?;
    Ok((labels, tensor(9, &[4]).abs()?))
}

#[test]
fn a_residual_network_with_every_operation() -> Result<()> {
    let v = [
        variable(1, &[3, 3, 3, 8]),
        variable(2, &[8]),
        variable(3, &[8]),
        variable(4, &[3, 3, 8, 8]),
        variable(5, &[4, 8]),
        variable(6, &[4]),
        variable(7, &[2]),
    ];
    let x = odc_ops::conv2d(&tensor(8, &[6, 9, 7, 3]), &v[0], 1, 1)?;
    let (x, batch) = odc_ops::batch_norm_train(&x, Some(&v[1]), Some(&v[2]), 1e-5)?;
    let x = odc_ops::max_pool2d(&odc_ops::relu(&x)?, 3, 2, 1)?;
    // Used three times: twice by the block and once by the block's own shortcut through the same weights.
    let y = odc_ops::conv2d(&odc_ops::conv2d(&x, &v[3], 1, 1)?, &v[3], 1, 1)?;
    let y = odc_ops::batch_norm_eval(&y, Some(&v[1]), None, &batch.mean, &batch.variance, 1e-5)?;
    let x = odc_ops::add(&odc_ops::add(&y, &x)?, &x)?;
    let (x, _) = odc_ops::batch_norm_relu_train(&x, Some(&v[1]), Some(&v[1]), Some(&x), 1e-5)?;
    let (x, _) = odc_ops::batch_norm_relu_train(&x, None, Some(&v[2]), None, 1e-5)?;
    let x = odc_ops::dropout(&odc_ops::global_average_pool(&x)?, 0.2, 3)?;
    let x = odc_ops::dropout_with_mask(&x, &tensor(10, &[6, 8]))?;
    let (labels, weights) = labels_and_weights()?;
    let loss = odc_ops::weighted_cross_entropy(&odc_ops::linear(&x, &v[4], Some(&v[5]))?, &labels, &weights)?;
    check("residual network", &loss, &v)
}

#[test]
fn operations_of_candle_in_between_are_understood() -> Result<()> {
    let v = [variable(1, &[5, 6]), variable(2, &[4, 5])];
    let x = odc_ops::relu(&v[0].t()?)?;
    let x = (odc_ops::linear(&x, &v[1], None)? * 3.0)?;
    let (labels, weights) = labels_and_weights()?;
    check("mixed", &odc_ops::weighted_cross_entropy(&x, &labels, &weights)?, &v)?;
    let loss = odc_ops::weighted_cross_entropy(&odc_ops::linear(&v[0].t()?, &v[1], None)?, &labels, &weights)?;
    check("candle last", &(loss * 2.0)?, &v)
}

#[test]
fn a_loss_without_variables_has_no_gradients() -> Result<()> {
    let (labels, weights) = labels_and_weights()?;
    let loss = odc_ops::weighted_cross_entropy(&tensor(1, &[6, 4]), &labels, &weights)?;
    assert_eq!(odc_ops::backward(&loss)?.get_ids().filter(|id| **id != loss.id()).count(), 0);
    Ok(())
}
