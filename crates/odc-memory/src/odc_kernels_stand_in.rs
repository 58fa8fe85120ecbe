//! Plain stand-ins until the kernels land.
pub(crate) fn nearest_by_distance(rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32]) {
    best(rows, centroids, dim, labels, |r, c| -r.iter().zip(c).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
}
pub(crate) fn nearest_by_dot_product(rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32]) {
    best(rows, centroids, dim, labels, |r, c| r.iter().zip(c).map(|(a, b)| a * b).sum::<f32>());
}
fn best(rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32], score: impl Fn(&[f32], &[f32]) -> f32) {
    assert_eq!(rows.len(), labels.len() * dim);
    for (row, label) in rows.chunks_exact(dim).zip(labels) {
        let mut top = f32::NEG_INFINITY;
        for (index, centroid) in centroids.chunks_exact(dim).enumerate() {
            let s = score(row, centroid);
            if s > top {
                top = s;
                *label = index as u32;
            }
        }
    }
}
pub(crate) fn normalize_rows(rows: &mut [f32], dim: usize) {
    for row in rows.chunks_exact_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt() + 1e-10;
        row.iter_mut().for_each(|x| *x /= norm);
    }
}
