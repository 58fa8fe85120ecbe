//! The sample memory and the centroid memory of Online Deep Clustering.
