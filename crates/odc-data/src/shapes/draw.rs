//! One picture of the generated set: what is in it, drawn at random, and its pixels.

use super::palette::Palette;
use crate::{Image, SampleRandom};

/// Everything about one image but its size and noise. Lengths are in units of the image's side.
pub(super) struct Scene {
    shape: Shape,
    texture: Texture,
    center: [f64; 2],
    /// The radius of the disc of the same area.
    radius: f64,
    /// Of the shape and of its texture: cosine and sine.
    shape_turn: [f64; 2],
    texture_turn: [f64; 2],
    /// Texture repeats at this distance, from this offset.
    period: f64,
    phase: [f64; 2],
    ink: [[f64; 3]; 2],
    background: [[f64; 3]; 2],
    /// The direction in which one background colour becomes the other.
    slope: [f64; 2],
    clutter: Vec<Spot>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Disc,
    Triangle,
    Cross,
    Ring,
}

#[derive(Clone, Copy, Debug)]
enum Texture {
    Stripes,
    Shaded,
    Dots,
}

struct Spot {
    center: [f64; 2],
    radius: f64,
    color: [f64; 3],
}

/// In the order of the labels.
const SHAPES: [Shape; 4] = [Shape::Disc, Shape::Triangle, Shape::Cross, Shape::Ring];
const TEXTURES: [Texture; 3] = [Texture::Stripes, Texture::Shaded, Texture::Dots];

pub(super) const CLASSES: usize = SHAPES.len() * TEXTURES.len();

/// Every shape with every texture.
pub(super) fn class_names() -> Vec<String> {
    let name = |shape: &Shape, texture: &Texture| format!("{shape:?} {texture:?}").to_lowercase();
    SHAPES.iter().flat_map(|shape| TEXTURES.iter().map(move |texture| name(shape, texture))).collect()
}

impl Scene {
    /// A scene of this class, in the colours of a palette or in any. All but shape and texture is drawn without looking
    /// at the class.
    pub(super) fn draw(class: usize, palette: Option<Palette>, clutter: usize, random: &mut SampleRandom) -> Self {
        let shape = SHAPES[class / TEXTURES.len()];
        let texture = TEXTURES[class % TEXTURES.len()];
        let radius = random.uniform(0.30, 0.40);
        let (ink, background) = match palette {
            None => colors(color, color, random),
            Some(palette) => colors(|random| palette.ink(random), |random| palette.background(random), random),
        };
        let n_spots = random.below(clutter + 1);
        Self {
            shape,
            texture,
            center: [random.uniform(0.36, 0.64), random.uniform(0.36, 0.64)],
            radius,
            shape_turn: turn(random),
            texture_turn: turn(random),
            period: random.uniform(0.17, 0.23),
            phase: [random.unit(), random.unit()],
            ink,
            background,
            slope: turn(random),
            clutter: (0..n_spots)
                .map(|_| Spot {
                    center: [random.unit(), random.unit()],
                    radius: random.uniform(0.03, 0.07),
                    color: color(random),
                })
                .collect(),
        }
    }

    /// The pixels, each the mean of 2 × 2 points, with Gaussian noise.
    pub(super) fn render(&self, side: usize, noise: f64, random: &mut SampleRandom) -> Image {
        let mut image = Image::black(side, side);
        let (pixels, _) = image.pixels.as_chunks_mut::<3>();
        let unit = 1.0 / side as f64;
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = ((i % side) as f64, (i / side) as f64);
            let mut sum = [0.0; 3];
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let color = self.color_at((x + dx) * unit, (y + dy) * unit);
                sum = std::array::from_fn(|channel| sum[channel] + color[channel]);
            }
            let ([first, second], [third, _]) = (normal_pair(random), normal_pair(random));
            let grain = [first, second, third].map(|value| value * noise);
            *pixel = std::array::from_fn(|channel| (sum[channel] * (255.0 / 4.0) + grain[channel] + 0.5) as u8);
        }
        image
    }

    fn color_at(&self, x: f64, y: f64) -> [f64; 3] {
        let from_center = [x - self.center[0], y - self.center[1]];
        if self.shape.contains(turned(from_center, self.shape_turn).map(|c| c / self.radius)) {
            let across = turned(from_center, self.texture_turn);
            let periods = std::array::from_fn(|axis| across[axis] / self.period + self.phase[axis]);
            let share = self.texture.share_of_second_ink(periods, across[0] / self.radius);
            return mixed(self.ink[0], self.ink[1], share);
        }
        for spot in &self.clutter {
            let (dx, dy) = (x - spot.center[0], y - spot.center[1]);
            if dx * dx + dy * dy < spot.radius * spot.radius {
                return spot.color;
            }
        }
        let along = 0.5 + (x - 0.5) * self.slope[0] + (y - 0.5) * self.slope[1];
        mixed(self.background[0], self.background[1], along.clamp(0.0, 1.0))
    }
}

impl Shape {
    /// Whether a point is inside; every shape has the area of the unit disc, π, so that size and brightness tell nothing.
    fn contains(self, [x, y]: [f64; 2]) -> bool {
        match self {
            Self::Disc => x * x + y * y < 1.0,
            // Equilateral with the inner radius r: area 3√3 r².
            Self::Triangle => {
                const INNER: f64 = 0.777_56;
                let side = 3.0_f64.sqrt() / 2.0;
                y < INNER && side * x - 0.5 * y < INNER && -side * x - 0.5 * y < INNER
            }
            // Two bars of half-width w and half-length 3w: area 20 w².
            Self::Cross => {
                const HALF_WIDTH: f64 = 0.396_33;
                let (x, y) = (x.abs(), y.abs());
                x.min(y) < HALF_WIDTH && x.max(y) < 3.0 * HALF_WIDTH
            }
            // From 0.75 to 1.25: area π (1.25² − 0.75²) = π.
            Self::Ring => (0.5625..1.5625).contains(&(x * x + y * y)),
        }
    }
}

impl Texture {
    /// How much of the second ink is at a point, which is given in periods and, for shading, along the slope from −1
    /// to 1. Every texture has as much of either ink.
    fn share_of_second_ink(self, [u, v]: [f64; 2], along: f64) -> f64 {
        let (u, v) = (u - u.floor(), v - v.floor());
        match self {
            Self::Stripes => f64::from(u < 0.5),
            Self::Shaded => (0.5 + 0.5 * along).clamp(0.0, 1.0),
            // A disc of area one half in the unit square.
            Self::Dots => f64::from((u - 0.5).powi(2) + (v - 0.5).powi(2) < 0.5 / std::f64::consts::PI),
        }
    }
}

/// Two inks and two background colours. The inks differ clearly in brightness and both somewhat from the background,
/// so that texture and shape outlive a gray view.
fn colors(
    draw_ink: impl Fn(&mut SampleRandom) -> [f64; 3],
    draw_background: impl Fn(&mut SampleRandom) -> [f64; 3],
    random: &mut SampleRandom,
) -> ([[f64; 3]; 2], [[f64; 3]; 2]) {
    loop {
        let (first, second, background) = (draw_ink(random), draw_ink(random), draw_background(random));
        let (a, b, c) = (brightness(first), brightness(second), brightness(background));
        if (a - b).abs() > 0.4 && (a - c).abs() > 0.1 && (b - c).abs() > 0.1 {
            let other = mixed(background, draw_background(random), 0.3);
            return ([first, second], [background, other]);
        }
    }
}

/// Any brightness, and so much colour that it is seen but does not outweigh brightness: with full colours the features
/// of an untrained network tell nothing but them, and there is nothing to start from.
fn color(random: &mut SampleRandom) -> [f64; 3] {
    let level = random.uniform(0.05, 0.95);
    std::array::from_fn(|_| (level + random.uniform(-0.125, 0.125)).clamp(0.0, 1.0))
}

fn brightness([red, green, blue]: [f64; 3]) -> f64 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

fn mixed(from: [f64; 3], to: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

fn turn(random: &mut SampleRandom) -> [f64; 2] {
    let angle = random.uniform(0.0, std::f64::consts::TAU);
    [angle.cos(), angle.sin()]
}

fn turned([x, y]: [f64; 2], [cos, sin]: [f64; 2]) -> [f64; 2] {
    [x * cos + y * sin, y * cos - x * sin]
}

/// Two independent standard normal numbers (Box and Muller).
fn normal_pair(random: &mut SampleRandom) -> [f64; 2] {
    let length = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let angle = random.uniform(0.0, std::f64::consts::TAU);
    [length * angle.cos(), length * angle.sin()]
}
