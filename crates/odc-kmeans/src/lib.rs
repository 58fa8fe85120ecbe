//! Global k-means that leaves no cluster empty.
