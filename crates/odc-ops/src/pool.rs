//! Where operations are called from.

/// Runs `f` on a thread of the current rayon pool.
///
/// An operation that is called from any other thread hands its work to the pool and sleeps until it is done, and a training
/// step is hundreds of operations: with two threads that is a third of the time of a small network's step. The results are the
/// same bits.
pub fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}
