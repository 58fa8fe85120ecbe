//! Lloyd's iteration against the reference numbers.

use odc_kmeans::{KMeans, Stopped};
use odc_testkit::{Golden, assert_close};

#[test]
fn twenty_iterations_from_given_centroids() {
    let golden = Golden::open("kmeans");
    let kmeans = KMeans { n_clusters: 25, iterations: 20, seed: 0 };
    let clustering = kmeans.fit_from(&golden.f32("x"), 16, golden.f32("centroid_0")).expect("rows that fit");
    assert_eq!(clustering.labels(), golden.u32("label"));
    let centroids: Vec<f32> = golden.f64("centroid_end").into_iter().map(|entry| entry as f32).collect();
    assert_close("centroids", clustering.centroids(), &centroids, 1e-5);
    let objective = golden.f64("objective");
    for (iteration, (actual, expected)) in clustering.objective().iter().zip(&objective).enumerate() {
        assert!((actual / expected - 1.0).abs() < 1e-6, "iteration {iteration}: {actual}, not {expected}");
    }
    // No label changed at the end of the golden run, so that stopping there is the same as going on.
    assert!(clustering.iterations() == 20 || clustering.stopped() == Stopped::NoLabelChanged);
    assert!((clustering.inertia() / objective[19] - 1.0).abs() < 1e-3);
    assert_eq!(clustering.refilled(), 0);
}
