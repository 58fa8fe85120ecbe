//! The program odc.
fn main() {}
