"""The peer's side of `cargo xtask bench cpu --iteration`: whole iterations of Online Deep Clustering in PyTorch.

    peer_iteration.py ARCH STEM SIDE BATCH PATH --layout nchw|channels_last --threads T

The same memories, the same lines in and out as iteration.rs. The parts are those of tests/golden/make/odc_torch.py: its
network and neck, its augmentation on PIL images, its memory; one process loads, trains and keeps the memories in turn.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "golden" / "make"))

import faiss  # noqa: E402
from common import decode, eval_transform, extract, load_parquet, train_transform  # noqa: E402
from odc_memory_ref import Memory  # noqa: E402
from odc_torch import Neck, fill_empty, kmeans, reset_head, weighted_ce  # noqa: E402
from resnet_ref import ResNet  # noqa: E402

SAMPLES, CLUSTERS, SEEN, DIM = 10_000, 100, 128, 256


def encoded_images(path):
    """The bytes of every image: a parquet file's, or a folder's."""
    if path.is_dir():
        return [file.read_bytes() for file in sorted(path.iterdir()) if file.suffix.lower() in (".jpg", ".jpeg")]
    return load_parquet(str(path), SAMPLES)[0]


def first_memory(net, neck, images, side):
    """Memories that begin with k-means of the features of a few images, each repeated with some noise."""
    random = np.random.RandomState(0)
    seen = [images[image] for image in random.permutation(len(images))[:SEEN]]
    net.eval(), neck.eval()
    rows = extract(lambda x: neck(net(x)), seen, eval_transform(side, "crop"), batch=32).numpy()
    net.train(), neck.train()
    rows = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10)
    rows = rows[np.arange(SAMPLES) % len(rows)] + random.randn(SAMPLES, DIM) * 0.3 / DIM**0.5
    rows = np.ascontiguousarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10), dtype=np.float32)
    labels = fill_empty(kmeans(rows, CLUSTERS, 0)[0], CLUSTERS, random)
    memory = Memory(SAMPLES, DIM, CLUSTERS, min_cluster=20, variant="paper")
    memory.init(rows, labels)
    return memory


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arch")
    parser.add_argument("stem", choices=["imagenet", "cifar"])
    parser.add_argument("side", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    images, view = encoded_images(args.path), train_transform(args.side, 0.2)
    net = ResNet(args.arch, 64, args.stem).to(memory_format=layout)
    neck, head = Neck(net.out_dim, 512, DIM), torch.nn.Linear(DIM, CLUSTERS)
    reset_head(head)
    body = {"params": [*net.parameters(), *neck.parameters()]}
    groups = [body, {"params": head.parameters(), "momentum": 0.0}]
    sgd = torch.optim.SGD(groups, lr=0.06 * args.batch / 512, momentum=0.9, weight_decay=1e-5)
    memory = first_memory(net, neck, images, args.side)
    weights, iteration = memory.loss_weight(), 0

    def step():
        nonlocal weights, iteration
        start = time.perf_counter()
        drawn = torch.randint(0, SAMPLES, (args.batch,))
        x = torch.stack([view(decode(images[sample % len(images)])) for sample in drawn.tolist()])
        x = x.contiguous(memory_format=layout)
        loaded = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            features = neck(net(x))
            loss = weighted_ce(head(features), memory.label[drawn], weights, "sum_w")
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        value = loss.item()
        trained = time.perf_counter()
        iteration += 1
        memory.update_samples(drawn, features.detach().float())
        if iteration % 10 == 0:
            memory.update_centroids()
        small = memory.deal_with_small_clusters()
        weights = memory.loss_weight()
        end = time.perf_counter()
        return end - start, loaded - start, trained - loaded, end - trained, small, value

    say(ready=f"PyTorch {torch.__version__}", capability=torch.backends.cpu.get_cpu_capability())
    for line in sys.stdin:
        steps = [step() for _ in range(int(line.removeprefix("run ")))]
        seconds, data, network, kept, refilled, losses = zip(*steps)
        parts = {"data": sum(data), "network": sum(network), "memory": sum(kept)}
        say(seconds=seconds, **parts, refilled=sum(refilled), loss=losses[-1])


if __name__ == "__main__":
    main()
