//! Where operations are called from: inside the thread pool, whose other threads stay awake for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `f` on a thread of the current rayon pool, and keeps the pool's other threads awake meanwhile.
///
/// An operation that is called from any other thread hands its work to the pool and sleeps until it is done, and a training
/// step is hundreds of operations: with two threads that is a third of the time of a small network's step. Between two
/// operations the pool's other threads fall asleep as well, and to wake one takes as long as a small operation. The results
/// are the same bits.
pub fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let watch = Watch { open: AtomicBool::new(true), over: AtomicBool::new(false), standing: AtomicUsize::new(0) };
    rayon::scope(|scope| {
        let (caller, others) = (rayon::current_thread_index(), rayon::current_num_threads() - 1);
        if others == 0 || WATCHED.swap(true, Ordering::Acquire) {
            return f();
        }
        let watch = &watch;
        let _end = End(watch);
        scope.spawn_broadcast(move |_, context| {
            if Some(context.index()) != caller {
                watch.stand();
            }
        });
        watch.gather(others);
        f()
    })
}

/// Whether a watch is kept. There is one at a time: the threads of two could each wait for work that is below the other's.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// How long threads are waited for at the start: a few times as long as it takes to wake one.
const GATHERING: Duration = Duration::from_micros(200);
/// How long a thread watches without work before it may sleep.
const PATIENCE: Duration = Duration::from_millis(5);

/// Threads that look for work without falling asleep.
struct Watch {
    /// Threads may still join: later ones might do so in the middle of the work itself, and it would wait for them.
    open: AtomicBool,
    over: AtomicBool,
    standing: AtomicUsize,
}

impl Watch {
    /// Waits until the others stand, or for a moment.
    fn gather(&self, others: usize) {
        let start = Instant::now();
        while self.standing.load(Ordering::Acquire) < others && start.elapsed() < GATHERING {
            std::thread::yield_now();
        }
        self.open.store(false, Ordering::SeqCst);
    }

    /// Does the pool's work, and looks for more until the watch is over.
    fn stand(&self) {
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        self.standing.fetch_add(1, Ordering::Release);
        let mut last_work = Instant::now();
        while !self.over.load(Ordering::Acquire) {
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => last_work = Instant::now(),
                _ if last_work.elapsed() > PATIENCE => return,
                // Others may need the core.
                _ => std::thread::yield_now(),
            }
        }
    }
}

/// Ends the watch when the work is done, even by a panic.
struct End<'a>(&'a Watch);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        WATCHED.store(false, Ordering::Release);
    }
}
