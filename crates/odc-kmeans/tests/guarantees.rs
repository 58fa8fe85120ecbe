//! What holds of every clustering: no empty cluster, consistent, the same bits again; and what is refused.

use odc_kmeans::{Clustering, KMeans, KMeansError, Stopped};
use odc_testkit::formula;

fn kmeans(n_clusters: usize) -> KMeans {
    KMeans { n_clusters, iterations: 20, seed: 3 }
}

/// Checks all that the crate's page promises, by the plainest arithmetic.
fn check(rows: &[f32], dim: usize, n_clusters: usize, clustering: &Clustering) {
    let (centroids, labels) = (clustering.centroids(), clustering.labels());
    assert_eq!((centroids.len(), labels.len()), (n_clusters * dim, rows.len() / dim));
    let mut sizes = vec![0; n_clusters];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    assert!(sizes.iter().all(|&size| size > 0), "an empty cluster: {sizes:?}");
    let distance = |row: &[f32], cluster: usize| -> f64 {
        let centroid = &centroids[cluster * dim..][..dim];
        row.iter().zip(centroid).map(|(&x, &c)| (f64::from(x) - f64::from(c)).powi(2)).sum()
    };
    let inertia: f64 = rows.chunks_exact(dim).zip(labels).map(|(row, &label)| distance(row, label as usize)).sum();
    assert!((inertia - clustering.inertia()).abs() <= 1e-9 * inertia, "{inertia}, not {}", clustering.inertia());
    for (number, (row, &label)) in rows.chunks_exact(dim).zip(labels).enumerate() {
        let nearest = (0..n_clusters).map(|cluster| distance(row, cluster)).fold(f64::INFINITY, f64::min);
        assert!(distance(row, label as usize) <= nearest + 1e-5, "row {number} is not with its nearest centroid");
    }
}

#[test]
fn a_clustering_is_consistent_and_leaves_no_cluster_empty() {
    let rows = formula(1, 900 * 5);
    for n_clusters in [1, 2, 30, 300] {
        let clustering = kmeans(n_clusters).fit(&rows, 5).expect("rows that fit");
        check(&rows, 5, n_clusters, &clustering);
        assert!(clustering.objective().windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-6)));
    }
}

#[test]
fn identical_rows_fill_every_cluster() {
    let rows = [0.6, 0.8].repeat(50);
    for n_clusters in [1, 7, 49, 50] {
        let clustering = kmeans(n_clusters).fit(&rows, 2).expect("rows that fit");
        check(&rows, 2, n_clusters, &clustering);
        assert_eq!(clustering.stopped(), Stopped::NoLabelChanged);
        assert!(clustering.inertia() < 1e-10);
    }
}

#[test]
fn as_many_clusters_as_rows_gives_each_row_its_own() {
    let rows = formula(2, 64 * 3);
    let clustering = kmeans(64).fit(&rows, 3).expect("rows that fit");
    check(&rows, 3, 64, &clustering);
    assert_eq!(clustering.inertia(), 0.0);
}

#[test]
fn a_cluster_that_comes_out_empty_takes_half_of_the_largest() {
    // Two groups and four centroids, two of them far from every row; with and without means that follow.
    let mut rows = formula(4, 200 * 2);
    rows.iter_mut().skip(240).for_each(|entry| *entry += 5.0);
    let centroids = vec![0.0, 0.0, 100.0, 100.0, 5.0, 5.0, -100.0, 100.0];
    for iterations in [0, 1, 20] {
        let clustering = KMeans { n_clusters: 4, iterations, seed: 0 }.fit_from(&rows, 2, centroids.clone());
        let clustering = clustering.expect("rows that fit");
        assert_eq!(clustering.refilled(), 2);
        assert!(clustering.iterations() <= iterations);
        let mut sizes = [0; 4];
        clustering.labels().iter().for_each(|&label| sizes[label as usize] += 1);
        assert!(sizes.iter().all(|&size| size > 10), "{sizes:?}");
        assert!(clustering.inertia() < 200.0, "{}", clustering.inertia());
        if iterations == 20 {
            check(&rows, 2, 4, &clustering);
        }
    }
}

#[test]
fn a_seed_gives_the_same_bits_for_any_number_of_threads() {
    let rows = formula(5, 3000 * 19);
    // By linfa; too large for it, by k-means++; beyond the bound of that as well.
    let (for_linfa, for_plus_plus, beyond) =
        ((&rows[..], 19, 40), (&rows[..], 19, 100), (&formula(6, 20_000)[..], 1, 2000));
    for (rows, dim, n_clusters) in [for_linfa, for_plus_plus, beyond] {
        let runs: Vec<Clustering> = [1, 2, 7]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| KMeans { iterations: 2, ..kmeans(n_clusters) }.fit(rows, dim).expect("rows that fit"))
            })
            .collect();
        assert_eq!(runs[0], runs[1]);
        assert_eq!(runs[0], runs[2]);
        let again = KMeans { iterations: 2, ..kmeans(n_clusters) }.fit(rows, dim).expect("rows that fit");
        assert_eq!(runs[0], again);
        let other = KMeans { n_clusters, iterations: 2, seed: 4 }.fit(rows, dim).expect("rows that fit");
        assert_ne!(other.labels(), runs[0].labels());
    }
}

#[test]
fn where_no_label_changes_centroids_are_the_means_of_their_members() {
    // Small enough for linfa, whose own means are not: each counts the old centroid as a member.
    let (rows, dim, n_clusters) = (formula(8, 900 * 5), 5, 12);
    let clustering = KMeans { iterations: 200, ..kmeans(n_clusters) }.fit(&rows, dim).expect("rows that fit");
    assert_eq!(clustering.stopped(), Stopped::NoLabelChanged);
    let (mut sums, mut sizes) = (vec![0.0; n_clusters * dim], vec![0.0; n_clusters]);
    for (row, &label) in rows.chunks_exact(dim).zip(clustering.labels()) {
        let cluster = label as usize;
        sizes[cluster] += 1.0;
        sums[cluster * dim..][..dim].iter_mut().zip(row).for_each(|(sum, &entry)| *sum += f64::from(entry));
    }
    for (position, (sum, &centroid)) in sums.iter().zip(clustering.centroids()).enumerate() {
        assert!((sum / sizes[position / dim] - f64::from(centroid)).abs() < 1e-5, "centroid {}", position / dim);
    }
}

#[test]
fn what_cannot_be_clustered_is_refused_by_name() {
    let rows = formula(7, 12);
    let error = |n_clusters, rows: &[f32], dim| kmeans(n_clusters).fit(rows, dim).expect_err("refused");
    assert_eq!(error(7, &rows, 2), KMeansError::TooFewRows { n_rows: 6, n_clusters: 7 });
    assert_eq!(error(2, &rows, 0), KMeansError::Zero { name: "dim" });
    assert_eq!(error(0, &rows, 2), KMeansError::Zero { name: "n_clusters" });
    assert!(matches!(error(2, &rows, 5), KMeansError::Shape { found: 12, .. }));
    for bad in [f32::NAN, f32::INFINITY, -1e20] {
        let mut rows = rows.clone();
        rows[7] = bad;
        let message = error(2, &rows, 3).to_string();
        assert!(message.starts_with(&format!("row 2 holds {bad} in entry 1")), "{message}");
        let message = kmeans(2).fit_from(&formula(7, 12), 4, rows[..8].to_vec()).expect_err("refused").to_string();
        assert!(message.starts_with("centroid 1 holds"), "{message}");
    }
    let shape = kmeans(2).fit_from(&rows, 2, vec![0.0; 5]).expect_err("refused");
    assert!(matches!(shape, KMeansError::Shape { what: "centroid entries", found: 5, .. }));
}
