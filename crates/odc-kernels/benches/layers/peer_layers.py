"""The peer's side of `cargo xtask bench cpu --layers`: single convolutions in PyTorch, timed on demand.

    peer_layers.py --layout nchw|channels_last --threads T [--bf16]

The same lines in and out as main.rs, without `peak`.
"""

import argparse
import json
import sys
import time

import torch

LEAST_SECONDS, LEAST_RUNS = 0.1, 3


def layer(sizes, layout, dtype):
    """The three passes of a convolution, by name."""
    images, side, kernel, stride, padding, inputs, outputs = sizes
    x = torch.rand(images, inputs, side, side, dtype=dtype).sub_(0.5).contiguous(memory_format=layout)
    weight = torch.rand(outputs, inputs, kernel, kernel, dtype=dtype).sub_(0.5).contiguous(memory_format=layout)
    dy = torch.rand_like(torch.nn.functional.conv2d(x, weight, stride=stride, padding=padding)).sub_(0.5)
    dy = dy.contiguous(memory_format=layout)

    def backward(mask):
        torch.ops.aten.convolution_backward(
            dy, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask
        )

    return {
        "forward": lambda: torch.nn.functional.conv2d(x, weight, stride=stride, padding=padding),
        "backward_data": lambda: backward([True, False, False]),
        "backward_weight": lambda: backward([False, True, False]),
    }


def times(run):
    seconds, start = [], time.perf_counter()
    while time.perf_counter() - start < LEAST_SECONDS or len(seconds) < LEAST_RUNS:
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    dtype = torch.bfloat16 if args.bf16 else torch.float32

    say(ready=f"PyTorch {torch.__version__}", capability=torch.backends.cpu.get_cpu_capability())
    known, passes = None, {}
    for line in sys.stdin:
        name, *sizes = line.split()
        if sizes != known:
            known, passes = sizes, layer([int(size) for size in sizes], layout, dtype)
        say(seconds=times(passes[name]))


if __name__ == "__main__":
    main()
