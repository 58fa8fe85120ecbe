"""The peer's side of `cargo xtask bench gradients`: how far gradients are from those in double precision.

    peer_gradients.py ARCH STEM CLASSES FILE

FILE is what gradients.rs wrote. For each parameter, |gradient - gradient in f64| / |gradient in f64|, all with the same
weights and images; one JSON object with the greatest and the median over parameters: ours by either method of convolution,
PyTorch f32 in both layouts.
"""

import json
import statistics
import sys

import torch
import torchvision
from safetensors.torch import load_file


def network(arch, stem, classes):
    """torchvision's network; the stem `cifar` is a 3x3 convolution of stride 1 without a pool."""
    net = getattr(torchvision.models, arch)(num_classes=classes)
    if stem == "cifar":
        net.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        net.maxpool = torch.nn.Identity()
    return net.train()


def main():
    arch, stem, classes, file = sys.argv[1:]
    tensors = load_file(file)
    images, labels = tensors.pop("images"), tensors.pop("labels")
    ours = {
        method: {name.removeprefix(f"{method}."): tensors.pop(name) for name in list(tensors) if name.startswith(f"{method}.")}
        for method in ("fastest", "direct")
    }

    def gradients(dtype, layout):
        net = network(arch, stem, int(classes))
        net.load_state_dict(tensors, strict=True)
        net = net.to(dtype=dtype, memory_format=layout)
        x = images.to(dtype).contiguous(memory_format=layout)
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        return {name: parameter.grad for name, parameter in net.named_parameters()}

    exact = gradients(torch.float64, torch.contiguous_format)
    sides = {
        **ours,
        "nchw": gradients(torch.float32, torch.contiguous_format),
        "channels_last": gradients(torch.float32, torch.channels_last),
    }
    answer = {}
    for side, found in sides.items():
        assert found.keys() == exact.keys(), f"{side}: other parameters"
        errors = {name: float((found[name].double() - exact[name]).norm() / exact[name].norm()) for name in exact}
        worst = max(errors, key=errors.get)
        answer[side] = {"max": errors[worst], "median": statistics.median(errors.values()), "worst": worst}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
