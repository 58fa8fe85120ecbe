//! Threads and device.

use anyhow::Context;
use candle_core::Device;

use crate::arguments::MachineArguments;
use crate::failure::WrongUse;

impl MachineArguments {
    /// Sets the threads of this process and gives the device.
    ///
    /// # Errors
    /// Where there is no such device, number of threads or set of instructions (`ODC_SIMD`).
    pub(crate) fn prepare(&self) -> anyhow::Result<Device> {
        if self.device != "cpu" {
            let message = format!(
                "--device {}: this build computes on the CPU only; use --device cpu, or leave it out",
                self.device
            );
            return Err(WrongUse(message).into());
        }
        odc_kernels::simd::forced().map_err(WrongUse)?;
        if let Some(threads) = self.threads {
            if !(1..=MOST_THREADS).contains(&threads) {
                let message = format!("--threads {threads}: give a number from 1 to {MOST_THREADS}");
                return Err(WrongUse(message).into());
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            pool.with_context(|| format!("cannot start {threads} threads"))?;
        }
        Ok(Device::Cpu)
    }

    /// Threads that decode images.
    pub(crate) fn workers(&self) -> usize {
        self.threads.unwrap_or_else(rayon::current_num_threads)
    }
}

/// Far more than there are cores in one machine; a slip of the keyboard should not exhaust the system.
const MOST_THREADS: usize = 1024;
