//! The nearest centroid, by either rule.

use crate::Rule;

/// Writes to `labels` (`[n]`) the centroid nearest to each row of `rows` (`[n, dim]`): in Euclidean distance by
/// [`Rule::Paper`], by the largest dot product by [`Rule::Reference`]; the lowest index on ties. `centroids` is
/// `[n_clusters, dim]`. Equation (3); runs on all threads, the result does not depend on how many.
///
/// # Panics
/// Where the lengths do not fit, or there is no centroid.
pub fn nearest(rule: Rule, rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32]) {
    match rule {
        Rule::Paper => odc_kernels::nearest_by_distance(rows, centroids, dim, labels),
        Rule::Reference => odc_kernels::nearest_by_dot_product(rows, centroids, dim, labels),
    }
}
