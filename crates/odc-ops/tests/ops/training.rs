//! SGD: momentum and decay by hand, restoring velocities, no graph kept alive, candle's trait.

use crate::support::{flat, tensor, variable};
use candle_core::Result;
use candle_nn::Optimizer;
use odc_ops::{ParameterGroup, Sgd, SgdConfig};
use odc_testkit::assert_close;

#[test]
fn two_steps_by_hand() -> Result<()> {
    let (p, untouched) = (variable(1, &[3]), variable(2, &[2]));
    let (start, rest) = (flat(&p), flat(&untouched));
    let group = ParameterGroup { parameters: vec![p.clone(), untouched.clone()], momentum: 0.9, weight_decay: 0.1 };
    let mut sgd = Sgd::new(vec![group], 0.5)?;
    let coefficients = tensor(3, &[3]);
    let g = flat(&coefficients);
    let mut expected = start.clone();
    let mut velocity = [0.0_f32; 3];
    for step in 0..2 {
        let gradients = (p.as_tensor() * &coefficients)?.sum_all()?.backward()?;
        sgd.set_learning_rate(if step == 0 { 0.5 } else { 0.25 });
        let lr = sgd.learning_rate() as f32;
        sgd.step(&gradients)?;
        for i in 0..3 {
            velocity[i] = 0.9 * velocity[i] + (g[i] + 0.1 * expected[i]);
            expected[i] -= lr * velocity[i];
        }
    }
    assert_close("parameter", &flat(&p), &expected, 1e-6);
    assert_close("velocity", &flat(sgd.velocities()[0]), &velocity, 1e-6);
    assert_eq!(flat(&untouched), rest, "a parameter without gradient stays");
    Ok(())
}

#[test]
fn restored_velocities_go_on_bit_for_bit() -> Result<()> {
    let coefficients = tensor(3, &[4]);
    let config = SgdConfig { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01 };
    let step = |sgd: &mut Sgd, p: &candle_core::Var| sgd.step(&(p.as_tensor() * &coefficients)?.sum_all()?.backward()?);
    let p = variable(1, &[4]);
    let mut sgd = <Sgd as Optimizer>::new(vec![p.clone()], config)?;
    step(&mut sgd, &p)?;
    let stored: Vec<_> = sgd.velocities().into_iter().map(|v| v.copy()).collect::<Result<_>>()?;
    let again = candle_core::Var::from_tensor(&p.as_tensor().copy()?)?;
    step(&mut sgd, &p)?;

    let mut resumed = <Sgd as Optimizer>::new(vec![again.clone()], config)?;
    let before = flat(&stored[0]);
    resumed.restore(stored.clone())?;
    step(&mut resumed, &again)?;
    assert_eq!(flat(&again), flat(&p));
    assert_eq!(flat(&stored[0]), before, "the caller's tensor stays as it was");
    assert!(resumed.restore(vec![]).is_err());
    assert!(resumed.restore(vec![tensor(1, &[5])]).is_err());
    Ok(())
}

#[test]
fn a_parameter_that_is_there_twice_is_refused() {
    let p = variable(1, &[4]);
    let group = |parameters| ParameterGroup { parameters, momentum: 0.9, weight_decay: 0.0 };
    let error = Sgd::new(vec![group(vec![p.clone()]), group(vec![p])], 0.1).expect_err("twice");
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn velocities_are_part_of_no_graph() -> Result<()> {
    let (p, config) = (variable(1, &[4]), SgdConfig { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 });
    let mut sgd = <Sgd as Optimizer>::new(vec![p.clone()], config)?;
    for _ in 0..2 {
        sgd.backward_step(&odc_ops::relu(&p)?.sqr()?.sum_all()?)?;
        assert!(sgd.velocities().iter().all(|velocity| !velocity.track_op()));
    }
    Ok(())
}

#[test]
fn running_statistics_blend_in_place() -> Result<()> {
    let (running, batch) = (variable(1, &[4]), tensor(2, &[4]));
    let before = flat(&running);
    odc_ops::update_running(&running, &batch, 0.1)?;
    let expected: Vec<f32> = before.iter().zip(flat(&batch)).map(|(a, b)| (1.0 - 0.1) * a + 0.1 * b).collect();
    assert_close("running", &flat(&running), &expected, 1e-6);
    Ok(())
}

#[test]
fn pixels_become_what_torchvision_makes_of_them() -> Result<()> {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let bytes: Vec<u8> = (0..24).map(|i| (i * 11) as u8).collect();
    let pixels = candle_core::Tensor::from_vec(bytes.clone(), (2, 2, 2, 3), &candle_core::Device::Cpu)?;
    let y = flat(&odc_ops::normalize_pixels(&pixels, mean, std)?);
    for (i, (&byte, y)) in bytes.iter().zip(y).enumerate() {
        assert_eq!(y, (f32::from(byte) / 255.0 - mean[i % 3]) / std[i % 3]);
    }
    Ok(())
}

#[test]
fn dropout_is_a_function_of_its_seed() -> Result<()> {
    let x = tensor(1, &[50, 40]);
    let drop = |seed| -> Result<Vec<f32>> { Ok(flat(&odc_ops::dropout(&x, 0.5, seed)?)) };
    assert_eq!(drop(3)?, drop(3)?);
    assert_ne!(drop(3)?, drop(4)?);
    let zeros = drop(3)?.iter().filter(|&&y| y == 0.0).count();
    assert!((900..1100).contains(&zeros), "{zeros} of 2000");
    assert_eq!(flat(&odc_ops::dropout(&x, 0.0, 3)?), flat(&x));
    Ok(())
}
