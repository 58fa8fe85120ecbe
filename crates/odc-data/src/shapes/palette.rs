//! Six palettes: colours that can be told apart at a glance and say nothing of shape and texture.

use crate::SampleRandom;

/// A hue of the object and, a third of the circle further, that of the background. All palettes are turns of one another,
/// so that where hues are turned at random, nothing tells which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Palette(usize);

/// In the order of the labels: hues of the object at sixths of the circle.
const NAMES: [&str; 6] =
    ["red on green", "yellow on cyan", "green on blue", "cyan on magenta", "blue on red", "magenta on yellow"];

/// How far a colour is from the gray of its brightness: a channel moves by up to so much of the range.
const CHROMA: f64 = 0.2;

impl Palette {
    /// That of an image. It has a stream of its own, which knows nothing of the class and can be asked without drawing
    /// the image.
    pub(super) fn draw(seed: u64, index: usize) -> Self {
        Self(SampleRandom::keyed(b"palette\0", seed, index as u64, 0).below(NAMES.len()))
    }

    pub(super) fn label(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    /// A colour of the object, of any brightness.
    pub(super) fn ink(self, random: &mut SampleRandom) -> [f64; 3] {
        self.tinted(0.0, random)
    }

    /// A colour of the background, of any brightness.
    pub(super) fn background(self, random: &mut SampleRandom) -> [f64; 3] {
        self.tinted(1.0 / 3.0, random)
    }

    /// The three channels sum to three times the level whatever the hue; the level keeps all within [0, 1].
    fn tinted(self, turn: f64, random: &mut SampleRandom) -> [f64; 3] {
        let level = random.uniform(CHROMA, 1.0 - CHROMA);
        let hue = self.0 as f64 / NAMES.len() as f64 + turn + random.uniform(-0.03, 0.03);
        std::array::from_fn(|channel| {
            let angle = std::f64::consts::TAU * (hue - channel as f64 / 3.0);
            level + CHROMA * angle.cos()
        })
    }
}
