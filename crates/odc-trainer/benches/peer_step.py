"""The peer's side of `cargo xtask bench cpu`: the training step of a ResNet classifier in PyTorch, timed on demand.

    peer_step.py ARCH STEM SIDE BATCH CLASSES --layout nchw|channels_last --threads T [--bf16]

The same step, the same lines in and out as step.rs.
"""

import argparse
import json
import sys
import time

import torch
import torchvision
from torch.nn import functional


def network(arch, stem, classes):
    """torchvision's network; the stem `cifar` is a 3x3 convolution of stride 1 without a pool."""
    net = getattr(torchvision.models, arch)(num_classes=classes)
    if stem == "cifar":
        net.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        net.maxpool = torch.nn.Identity()
    return net.train()


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arch")
    parser.add_argument("stem", choices=["imagenet", "cifar"])
    parser.add_argument("side", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("classes", type=int)
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = network(args.arch, args.stem, args.classes).to(memory_format=layout)
    images = torch.randn(args.batch, 3, args.side, args.side).contiguous(memory_format=layout)
    labels = torch.arange(args.batch) % args.classes
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        sgd.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        sgd.step()
        return loss.item()

    say(ready=f"PyTorch {torch.__version__}", capability=torch.backends.cpu.get_cpu_capability())
    for line in sys.stdin:
        seconds, loss = [], 0.0
        for _ in range(int(line.removeprefix("run "))):
            start = time.perf_counter()
            loss = step()
            seconds.append(time.perf_counter() - start)
        say(seconds=seconds, loss=loss)


if __name__ == "__main__":
    main()
