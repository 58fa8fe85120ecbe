//! The four training steps that are measured, and the convolutions that they are made of.

/// A training step: a ResNet classifier, and a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) letter: char,
    pub(crate) arch: &'static str,
    pub(crate) stem: &'static str,
    pub(crate) side: usize,
    pub(crate) batch: usize,
    pub(crate) classes: usize,
}

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) images: usize,
    pub(crate) side: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

const ALL: [Workload; 4] = [
    Workload { letter: 'a', arch: "resnet18", stem: "imagenet", side: 32, batch: 128, classes: 1000 },
    Workload { letter: 'b', arch: "resnet18", stem: "cifar", side: 32, batch: 64, classes: 10 },
    Workload { letter: 'c', arch: "resnet50", stem: "imagenet", side: 224, batch: 8, classes: 1000 },
    Workload { letter: 'd', arch: "resnet50", stem: "imagenet", side: 64, batch: 32, classes: 1000 },
];

impl Workload {
    pub(crate) fn of(letter: char) -> Option<Self> {
        ALL.into_iter().find(|workload| workload.letter == letter)
    }

    /// The network's name for people: `ResNet-18, cifar stem, 32², batch 64`.
    pub(crate) fn title(&self) -> String {
        let Self { letter, arch, stem, side, batch, .. } = self;
        format!("{letter} {}, {stem} stem, {side}×{side}, batch {batch}", arch.replace("resnet", "ResNet-"))
    }

    /// What both sides are told.
    pub(crate) fn arguments(&self) -> [String; 5] {
        let Self { arch, stem, side, batch, classes, .. } = self;
        [(*arch).to_owned(), (*stem).to_owned(), side.to_string(), batch.to_string(), classes.to_string()]
    }

    /// Every convolution in the order of the network, repeated ones repeatedly.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut add = |side, kernel, stride, inputs, outputs| {
            let padding = kernel / 2;
            layers.push(Layer { images: self.batch, side, kernel, stride, padding, inputs, outputs });
            halved(side, stride)
        };
        let mut side = match self.stem {
            "imagenet" => halved(add(self.side, 7, 2, 3, 64), 2),
            _ => add(self.side, 3, 1, 3, 64),
        };
        let (bottleneck, depths) = if self.arch == "resnet50" { (true, [3, 4, 6, 3]) } else { (false, [2, 2, 2, 2]) };
        let mut inputs = 64;
        for (stage, depth) in depths.into_iter().enumerate() {
            let planes = 64 << stage;
            let outputs = if bottleneck { 4 * planes } else { planes };
            for block in 0..depth {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let after = if bottleneck {
                    add(side, 1, 1, inputs, planes);
                    let after = add(side, 3, stride, planes, planes);
                    add(after, 1, 1, planes, outputs)
                } else {
                    let after = add(side, 3, stride, inputs, planes);
                    add(after, 3, 1, planes, planes)
                };
                if stride == 2 || inputs != outputs {
                    add(side, 1, stride, inputs, outputs);
                }
                (side, inputs) = (after, outputs);
            }
        }
        layers
    }

    /// Conventional floating-point operations of a step, in 10⁹: convolutions and classifier, forward and both
    /// gradients, without the gradient by the image; a multiply-add counts as two, taps in the padding as any other.
    pub(crate) fn gflop(&self) -> f64 {
        let passes = |layer: &Layer| if layer.needs_input_gradient() { 3.0 } else { 2.0 };
        let convolutions: f64 = self.layers().iter().map(|layer| passes(layer) * layer.gflop()).sum();
        let features = if self.arch == "resnet50" { 2048 } else { 512 };
        convolutions + 3.0 * 2.0 * (self.batch * features * self.classes) as f64 / 1e9
    }
}

impl Layer {
    /// What both sides are told.
    pub(crate) fn arguments(&self) -> String {
        let Self { images, side, kernel, stride, padding, inputs, outputs } = self;
        format!("{images} {side} {kernel} {stride} {padding} {inputs} {outputs}")
    }

    /// For people: `3×3/2 64→128 @56 n 8`.
    pub(crate) fn title(&self) -> String {
        let Self { images, side, kernel, stride, inputs, outputs, .. } = self;
        let stride = if *stride == 1 { String::new() } else { format!("/{stride}") };
        format!("{kernel}×{kernel}{stride} {inputs}→{outputs} @{side}, batch {images}")
    }

    /// Conventional operations of one pass, in 10⁹.
    pub(crate) fn gflop(&self) -> f64 {
        let out = halved(self.side, self.stride);
        2.0 * (self.images * out * out * self.kernel * self.kernel * self.inputs * self.outputs) as f64 / 1e9
    }

    /// No step needs the gradient by the image.
    pub(crate) fn needs_input_gradient(&self) -> bool {
        self.inputs != 3
    }
}

/// The side after a window with padding kernel / 2.
fn halved(side: usize, stride: usize) -> usize {
    side.div_ceil(stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyTorch's `FlopCounterMode` counts in a step.
    #[test]
    fn operations_are_those_that_pytorch_counts() {
        for (letter, gflop) in [('a', 28.2), ('b', 213.0), ('c', 194.0), ('d', 63.8)] {
            let counted = Workload::of(letter).map_or(0.0, |workload| workload.gflop());
            assert!((counted / gflop - 1.0).abs() < 0.005, "{letter}: {counted}, not {gflop}");
        }
    }
}
