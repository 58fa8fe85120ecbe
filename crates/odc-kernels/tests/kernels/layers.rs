//! Products and element-wise kernels against their naive twins, for any number of threads.

use crate::support::{Draw, same_bits_for_any_threads};
use odc_kernels::{Matrix, elementwise, matrix_multiply, plain, random};
use odc_testkit::assert_close;

#[test]
fn products_agree_in_all_four_orientations() {
    let mut draw = Draw::new(2);
    for round in 0..24 {
        let (rows, inner, columns) = match round {
            0 => (300, 70, 530),
            1 => (1, 600, 300),
            2 => (129, 1, 257),
            _ => (draw.size(1, 60), draw.size(1, 90), draw.size(1, 60)),
        };
        let (a, b) = (draw.values(rows * inner), draw.values(inner * columns));
        let (mut a_turned, mut b_turned) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        transpose(&a, rows, &mut a_turned);
        transpose(&b, inner, &mut b_turned);
        let expected = plain::matrix_multiply(&a, &b, inner);
        let a = [Matrix::row_major(&a, rows, inner), Matrix::row_major(&a_turned, inner, rows).transposed()];
        let b = [Matrix::row_major(&b, inner, columns), Matrix::row_major(&b_turned, columns, inner).transposed()];
        for a in a {
            for b in b {
                let out = same_bits_for_any_threads("product", || {
                    let mut out = vec![f32::NAN; rows * columns];
                    matrix_multiply(a, b, &mut out);
                    out
                });
                assert_close("product", &out, &expected, 3e-6);
            }
        }
    }
}

#[test]
fn element_wise_kernels_do_what_they_say() {
    let n = 40_000;
    let mut draw = Draw::new(8);
    let (a, b) = (draw.values(n), draw.values(n));
    let check = |what: &str, f: &(dyn Fn(&mut [f32]) + Sync), expected: &dyn Fn(usize) -> f32| {
        let y = same_bits_for_any_threads(what, || {
            let mut y = vec![f32::NAN; n];
            f(&mut y);
            y
        });
        assert_eq!(y, (0..n).map(expected).collect::<Vec<_>>(), "{what}");
    };
    check("relu", &|y| elementwise::relu(&a, y), &|i| a[i].max(0.0));
    check("relu backward", &|y| elementwise::relu_backward(&a, &b, y), &|i| if a[i] > 0.0 { b[i] } else { 0.0 });
    check("add", &|y| elementwise::add(&a, &b, y), &|i| a[i] + b[i]);
    let add_assign = |y: &mut [f32]| {
        y.copy_from_slice(&a);
        elementwise::add_assign(y, &b);
    };
    check("add in place", &add_assign, &|i| a[i] + b[i]);
    check("multiply", &|y| elementwise::multiply(&a, &b, y), &|i| a[i] * b[i]);
    check("dropout", &|y| elementwise::dropout(&a, 0.3, 9, y), &|i| {
        if random::uniform(9, i as u64) < 0.3 { 0.0 } else { a[i] * (1.0 / 0.7) }
    });
    check("add bias", &|y| elementwise::add_bias(&a, &b[..50], y), &|i| a[i] + b[i % 50]);
    let sums = same_bits_for_any_threads("sum rows", || {
        let mut sums = vec![f32::NAN; 50];
        elementwise::sum_rows(&a, &mut sums);
        sums
    });
    let expected: Vec<f32> =
        (0..50).map(|c| a[c..].iter().step_by(50).map(|&x| f64::from(x)).sum::<f64>() as f32).collect();
    assert_close("sum rows", &sums, &expected, 1e-6);
}

#[test]
fn pixels_are_normalized_as_torchvision_does() {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut y = vec![f32::NAN; 6];
    elementwise::normalize_pixels(&[0, 128, 255, 7, 90, 1], mean, std, &mut y);
    let expected = |byte: u8, c: usize| (f32::from(byte) / 255.0 - mean[c]) / std[c];
    assert_eq!(
        y,
        [expected(0, 0), expected(128, 1), expected(255, 2), expected(7, 0), expected(90, 1), expected(1, 2)]
    );
}

#[test]
fn dropout_keeps_the_mean() {
    let n = 100_000;
    let mut y = vec![0.0; n];
    elementwise::dropout(&vec![1.0; n], 0.5, 1, &mut y);
    let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / n as f64;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}

/// `to[column, row] = from[row, column]`
fn transpose(from: &[f32], rows: usize, to: &mut [f32]) {
    let columns = from.len() / rows;
    for (position, &x) in from.iter().enumerate() {
        to[position % columns * rows + position / columns] = x;
    }
}
