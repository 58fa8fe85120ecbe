#!/usr/bin/env python3
"""Golden data for AlexNet with batch norm and Sobel's filters, as DeepCluster (ECCV 2018) has them.

    alexnet.py --out DIR

Writes DIR/alexnet.safetensors, DIR/alexnet_sobel.safetensors and their entries in DIR/manifest.json. Run it
after golden.py, which writes that manifest anew.
"""
import argparse
import json
import os

import torch
import torch.nn as nn

import golden
from golden import emit, fill, formula


class AlexNet(nn.Module):
    """DeepCluster's, its five widths by `width` / 64, its top layer left out. PyTorch's adaptive pool to 6 x 6, the identity
    for images of 224, lets it take others."""

    def __init__(self, width, sobel):
        super().__init__()
        channels = 2 if sobel else 3
        layers = []
        for c, k, s, p, pool in [(3 * width // 2, 11, 4, 2, True), (4 * width, 5, 1, 2, True),
                                 (6 * width, 3, 1, 1, False), (6 * width, 3, 1, 1, False),
                                 (4 * width, 3, 1, 1, True)]:
            layers += [nn.Conv2d(channels, c, k, s, p), nn.BatchNorm2d(c), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if pool else []
            channels = c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(0), nn.Linear(channels * 36, 64 * width), nn.ReLU(),
            nn.Dropout(0), nn.Linear(64 * width, 64 * width), nn.ReLU())
        self.sobel = sobel_layer() if sobel else None

    def stages(self, x):
        """The maps after each ReLU, and what is left of the last after its pool."""
        x = x if self.sobel is None else self.sobel(x)
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps, x

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.stages(x)[1], 6).flatten(1))


def sobel_layer():
    grey, edges = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1)
    with torch.no_grad():
        grey.weight.fill_(1 / 3)
        edges.weight[0, 0] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        edges.weight[1, 0] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
        grey.bias.zero_()
        edges.bias.zero_()
    layer = nn.Sequential(grey, edges)
    return layer.requires_grad_(False)


def case(out, name, base, side, sobel):
    width, n = 4, 2
    net = fill(AlexNet(width, sobel), base)
    x = torch.from_numpy(formula(base + 900000, n * 3 * side * side)).reshape(n, 3, side, side)
    t = {}
    with torch.no_grad():
        net.eval()
        maps, _ = net.stages(x)
        # The large maps of a large image would only make the file large.
        for i, m in enumerate(maps):
            if m.numel() < 20000:
                t[f"eval_stage{i}"] = m
        t["eval"] = net(x)
    net.train()
    z = net(x)
    loss = (z * torch.from_numpy(formula(base + 900001, z.numel())).reshape(z.shape)).sum()
    loss.backward()
    trained = [(k, p) for k, p in net.named_parameters() if p.requires_grad]
    t |= {"train": z, "loss_train": loss, "grad_norms": torch.stack([p.grad.norm() for _, p in trained]),
          "grad_features.0.weight": net.features[0].weight.grad,
          "grad_classifier.1.weight[:2]": net.classifier[1].weight.grad[:2],
          "features.1.running_mean_after": net.features[1].running_mean}
    if sobel:
        small = x[:1, :, :9, :8].contiguous()
        t |= {"sobel_input": small, "sobel_output": sobel_layer()(small), "sobel_filled": net.sobel(small)}
    emit(out, name, f"AlexNet with batch norm of width {width}, side {side}, {'behind' if sobel else 'without'} Sobel's "
         f"filters, no dropout; weights: fill(net, base={base}), input: formula(base + 900000); stages: after each ReLU; "
         "eval, train: the second fully connected layer after its ReLU; loss_train = sum(train * formula(base + 900001)); "
         "grad_norms in the order of `grad_names` in the manifest. tol 1e-4 relative to the largest value."
         + (" sobel_output: the unfilled filters of sobel_input; sobel_filled: the filled ones." if sobel else ""), **t)
    golden.MANIFEST[name]["grad_names"] = [k for k, _ in trained]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", required=True)
    out = p.parse_args().out
    torch.set_num_threads(1)
    case(out, "alexnet", 21000, 224, False)
    case(out, "alexnet_sobel", 22000, 67, True)
    path = os.path.join(out, "manifest.json")
    manifest = json.load(open(path)) if os.path.exists(path) else {}
    manifest.update(golden.MANIFEST)
    json.dump(manifest, open(path, "w"), indent=1)


if __name__ == "__main__":
    main()
