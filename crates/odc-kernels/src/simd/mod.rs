//! Which vector instructions the kernels use: found out once at run time, or forced by `ODC_SIMD`.

use std::fmt;
use std::sync::OnceLock;

/// A set of vector instructions, from the least to the most able. Each gives the same bits for any number of threads; from one
/// to another the last bits differ, as a fused multiply-add rounds once where two instructions round twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Whatever the compiler makes of plain loops: every processor.
    Portable,
    /// AVX2 and FMA: x86-64 since about 2013.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: servers since 2017, Zen 4 and later.
    Avx512,
}

impl Level {
    /// All levels, the least able first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The levels that this processor has, the least able first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The level that kernels use where none is asked for: the most able one, or what the environment variable `ODC_SIMD`
/// (`avx512`, `avx2` or `portable`) says. Settled at the first call.
///
/// # Panics
/// Where `ODC_SIMD` names no level, or one that this processor lacks.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match std::env::var("ODC_SIMD") {
        Ok(name) => chosen(&name).unwrap_or_else(|error| panic!("{error}")),
        Err(_) => Level::available().last().unwrap_or(Level::Portable),
    })
}

fn chosen(name: &str) -> Result<Level, String> {
    let known = || Level::ALL.map(Level::name).join(", ");
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    let level = level.ok_or_else(|| format!("ODC_SIMD={name}: there is no such level; there are {}", known()))?;
    if !level.is_available() {
        return Err(format!("ODC_SIMD={name}: this processor does not have these instructions; unset ODC_SIMD"));
    }
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_chosen_by_name() {
        assert_eq!(chosen("portable"), Ok(Level::Portable));
        let error = chosen("sse9").expect_err("no such level");
        assert!(error.contains("sse9") && error.contains("avx512"), "{error}");
        for level in Level::ALL {
            assert_eq!(chosen(level.name()).is_ok(), level.is_available());
        }
    }
}
