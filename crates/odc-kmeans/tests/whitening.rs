//! Whitening: faiss's numbers, unit variances, degenerate rows, threads.

use odc_kmeans::{KMeansError, Whitening, normalize_rows};
use odc_testkit::{Golden, assert_close, formula};

#[test]
fn components_are_those_of_faiss() {
    let golden = Golden::open("pca_whiten");
    let x = golden.f32("x");
    let whitening = Whitening::fit(&x, 12, 6).expect("rows that fit");
    // faiss's eigenvalues are those of the sum over rows, not of the mean.
    let variances: Vec<f32> = whitening.variances().iter().map(|variance| (variance * 500.0) as f32).collect();
    assert_close("eigenvalues", &variances, &golden.f32("eigenvalues"), 1e-4);
    let mut rows = whitening.apply(&x[..20 * 12]).expect("rows that fit");
    normalize_rows(&mut rows, 6);
    // Signs of components are free; inner products do not know them.
    let product = |a: usize, b: usize| (0..6).map(|entry| rows[a * 6 + entry] * rows[b * 6 + entry]).sum::<f32>();
    let gram: Vec<f32> = (0..400).map(|pair| product(pair / 20, pair % 20)).collect();
    assert_close("inner products", &gram, &golden.f32("gram20"), 1e-4);
}

#[test]
fn whitened_rows_have_unit_variances_and_no_covariances() {
    let (n, dim) = (3000, 100);
    let rows: Vec<f32> = formula(1, n * dim).iter().enumerate().map(|(i, x)| x * (1 + i % dim) as f32 + 5.0).collect();
    let whitening = Whitening::fit(&rows, dim, 40).expect("rows that fit");
    let whitened = whitening.apply(&rows).expect("rows that fit");
    assert_eq!((whitening.n_components(), whitened.len()), (40, n * 40));
    for (a, b) in [(0, 0), (39, 39), (0, 1), (3, 38), (20, 21)] {
        let product = |row: &[f32]| f64::from(row[a]) * f64::from(row[b]);
        let covariance = whitened.chunks_exact(40).map(product).sum::<f64>() / n as f64;
        assert!((covariance - f64::from(u8::from(a == b))).abs() < 1e-4, "{a}, {b}: {covariance}");
    }
    assert!(whitening.variances().is_sorted_by(|a, b| a >= b));
    let again = Whitening::from_parts(whitening.mean().to_vec(), whitening.projection().to_vec()).expect("parts");
    assert_eq!(again.apply(&rows).expect("rows that fit"), whitened);
}

#[test]
fn directions_without_variance_give_zeros() {
    let noise = formula(2, 200 * 3);
    // Of 8 entries three are noise, two repeat it, one is constant, one zero, one a sum: three directions in all.
    let row = |x: &[f32]| [x[0], x[1], x[2], x[0], 2.0 * x[1], 3.0, 0.0, x[0] + x[2]];
    let rows: Vec<f32> = noise.chunks_exact(3).flat_map(row).collect();
    let whitened = Whitening::fit(&rows, 8, 8).expect("rows that fit").apply(&rows).expect("rows that fit");
    let largest = |entry: usize| whitened.chunks_exact(8).fold(0.0_f32, |largest, row| largest.max(row[entry].abs()));
    assert!((0..3).all(|entry| largest(entry) > 1.0) && (3..8).all(|entry| largest(entry) == 0.0), "{whitened:?}");

    for rows in [vec![0.0; 50], vec![7.5; 50], vec![1e-30; 50], vec![1e14; 50], vec![2.0; 5]] {
        let whitened = Whitening::fit(&rows, 5, 3).expect("rows that fit").apply(&rows).expect("rows that fit");
        assert!(whitened.iter().all(|value| *value == 0.0), "{rows:?}: {whitened:?}");
    }
    // Fewer rows than entries, of very different sizes.
    let sizes = [1e12, 1e-12, 1.0, 1e-30, 1e5, 0.0];
    let rows: Vec<f32> = formula(3, 24).iter().enumerate().map(|(i, x)| x * sizes[i % 6]).collect();
    let whitened = Whitening::fit(&rows, 6, 9).expect("rows that fit").apply(&rows).expect("rows that fit");
    assert!(whitened.len() == 24 && whitened.iter().all(|value| value.is_finite()), "{whitened:?}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let rows = formula(4, 2500 * 150);
    let by = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let whitening = Whitening::fit(&rows, 150, 70).expect("rows that fit");
            let whitened = whitening.apply(&rows).expect("rows that fit");
            (whitening, whitened)
        })
    };
    assert!(by(1) == by(3));
}

#[test]
fn rows_that_cannot_be_whitened_are_refused() {
    let fit = |rows: &[f32], dim, n_components| Whitening::fit(rows, dim, n_components).expect_err("refused");
    assert_eq!(fit(&[1.0], 1, 0), KMeansError::Zero { name: "n_components" });
    assert_eq!(fit(&[1.0], 0, 1), KMeansError::Zero { name: "dim" });
    assert!(matches!(fit(&[1.0; 5], 2, 1), KMeansError::Shape { found: 5, .. }));
    assert!(matches!(fit(&[1.0, f32::NAN], 2, 1), KMeansError::NotFinite { entry: 1, .. }));
    assert!(matches!(fit(&[], 2, 1), KMeansError::TooFewRows { n_rows: 0, .. }));
    let whitening = Whitening::fit(&[1.0, 2.0, 3.0, 5.0], 2, 2).expect("rows that fit");
    assert!(matches!(whitening.apply(&[1.0]), Err(KMeansError::Shape { .. })));
}
