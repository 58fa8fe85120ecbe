//! Counter-based randomness: the value at an index is a function of (seed, index), whoever computes it and when.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// 64 random bits: the finaliser of splitmix64 over the mixed seed and the index.
pub fn bits(seed: u64, index: u64) -> u64 {
    mix(mix(seed ^ GAMMA).wrapping_add(index.wrapping_mul(GAMMA)))
}

/// Uniform in [0, 1), a multiple of 2⁻²⁴.
pub fn uniform(seed: u64, index: u64) -> f32 {
    (bits(seed, index) >> 40) as f32 / 16_777_216.0
}

/// Standard normal, by Box and Muller from the two halves of [`bits`].
pub fn normal(seed: u64, index: u64) -> f32 {
    const STEP: f64 = 1.0 / 4_294_967_296.0;
    let bits = bits(seed, index);
    let radius = (((bits >> 32) as f64 + 1.0) * STEP).ln() * -2.0;
    let angle = (bits & 0xFFFF_FFFF) as f64 * STEP * std::f64::consts::TAU;
    (radius.sqrt() * angle.cos()) as f32
}

/// The seed of the stream called `name`, part `a` (an epoch, an iteration), under a run's `seed`.
pub fn key(seed: u64, name: &str, a: u64) -> u64 {
    // FNV-1a turns the name into 64 bits.
    let name = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    mix(mix(mix(seed.wrapping_add(GAMMA)) ^ name).wrapping_add(a.wrapping_mul(GAMMA)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let n = 200_000;
        let (mut sum, mut square, mut mean) = (0.0_f64, 0.0_f64, 0.0_f64);
        for index in 0..n {
            let u = uniform(3, index);
            assert!((0.0..1.0).contains(&u));
            mean += f64::from(u);
            let z = f64::from(normal(3, index));
            sum += z;
            square += z * z;
        }
        let n = n as f64;
        assert!((mean / n - 0.5).abs() < 5e-3, "{}", mean / n);
        assert!((sum / n).abs() < 1e-2, "{}", sum / n);
        assert!((square / n - 1.0).abs() < 2e-2, "{}", square / n);
    }

    #[test]
    fn neighbouring_seeds_names_and_parts_give_other_streams() {
        assert_ne!(bits(1, 1), bits(2, 0));
        assert_ne!(bits(1, 0), bits(0, 1));
        assert_ne!(key(1, "dropout", 0), key(1, "sampler", 0));
        assert_ne!(key(1, "dropout", 0), key(1, "dropout", 1));
        assert_ne!(key(1, "dropout", 0), key(2, "dropout", 0));
        assert_eq!(key(1, "dropout", 7), key(1, "dropout", 7));
    }
}
