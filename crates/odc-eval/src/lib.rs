//! What features are worth: linear probe, kNN, cluster scores, extraction.
