#!/usr/bin/env python3
"""Golden data for whole ODC iterations: 20 in a row, with both rules, by odc_torch.py's arithmetic.

    iterations.py --out DIR [--rule paper|reference]

Writes DIR/iterations_paper.safetensors and DIR/iterations_reference.safetensors and their entries in
DIR/manifest.json. Run it after golden.py, which writes that manifest anew.

A label is a decision: where two centroids are almost equally near, two correct programs may choose
differently and then go apart. The sign of a ReLU's input is one too: a flipped sign changes the
gradient by about a hundredth of it, this moves later activations by a hundred times the rounding
error, more signs flip, and after twenty iterations the losses differ in the third digit. So the
batches are chosen: only such as come near neither kind of edge (choose_batches). Each case is
then run again in f64, with two other f32 convolutions and with noise on the weights, and must take
the same decisions and give the same losses.
"""
import argparse
import copy
import itertools
import json
import os

import faiss
import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import save_file

import odc_memory_ref
from common import MEAN, STD
from golden import fill, formula
from odc_memory_ref import EPS, Memory
from odc_torch import Neck, fill_empty, kmeans, preprocess, weighted_ce
from resnet_ref import ResNet

N, SIDE, K, BATCH, HIDDEN, DIM, ITERATIONS = 192, 12, 10, 32, 64, 32, 20
WIDTH, STEM, MIN_CLUSTER, CENTROID_EVERY = 16, "small", 7, 10
LR, MOMENTUM, WEIGHT_DECAY, MEMORY_MOMENTUM, POWER = 0.001, 0.9, 1e-5, 0.5, 0.5
BACKBONE_BASE, NECK_HEAD_BASE, MASK_BASE, INDEX_BASE = 4000, 5000, 6000, 7000
RULES = {"paper": "paper", "reference": "code"}     # name in the project: name in the peer
CLEAR, KINK, ATTEMPTS, NOISE = 2e-4, 2.5e-5, 2000, 3e-8   # see choose_batches, Run.shake
SEEDS = {"paper": 0, "reference": 0}                # of the images; the first to try


def images(seed):
    """[N, SIDE, SIDE, 3] u8: eight kinds of coloured waves, each image with its own phase and noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    out = []
    for i in range(N):
        kind = formula(8000 + 100 * seed + i % 8, 8).astype(np.float64)
        own = formula(9000 + 1000 * seed + i, 4 + SIDE * SIDE * 3).astype(np.float64)
        wave = np.sin(12 * (kind[0] * x + kind[1] * y) + 1.5 * own[0])
        colour = 0.5 + 0.35 * kind[2:5] + 0.15 * own[1:4]
        contrast = 0.3 * kind[5:8]
        pixels = colour + contrast * wave[..., None] + 0.15 * own[4:].reshape(SIDE, SIDE, 3)
        out.append(np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8))
    return np.stack(out)


def candidate(t, attempt):
    """[BATCH] sample indices, with replacement: floor((v + 1) / 2 * N), v = formula. The last repeats
    the first, so that every batch holds a duplicate."""
    v = formula(INDEX_BASE + 100 * t + attempt, BATCH).astype(np.float64)
    idx = np.floor((v + 1) / 2 * N).astype(np.int64)
    idx[-1] = idx[0]
    return idx


def mask(t, dtype):
    """Dropout's mask at iteration t (from 0): [BATCH, HIDDEN], 2 where formula is positive, else 0."""
    v = formula(MASK_BASE + t, BATCH * HIDDEN)
    return torch.from_numpy(np.where(v > 0, 2.0, 0.0)).reshape(BATCH, HIDDEN).to(dtype)


class NotSimple(Exception):
    """The case is not fit for a golden file: a correct program might do otherwise."""


def require(condition, why):
    if not condition:
        raise NotSimple(why)


class GivenDropout(nn.Module):
    """Takes the place of nn.Dropout in the neck: the mask is given, nothing is drawn."""
    mask = None

    def forward(self, x):
        return x * self.mask if self.training else x


def network():
    """Backbone, neck and head, every weight from the formula."""
    net, neck, head = fill(ResNet("resnet18", WIDTH, STEM), BACKBONE_BASE), None, None
    neck = Neck(net.out_dim, HIDDEN, DIM)
    neck.drop = GivenDropout()
    head = nn.Linear(DIM, K)
    plan = [(neck.fc0.weight, np.sqrt(6.0 / net.out_dim)), (neck.fc0.bias, 0.1),
            (neck.fc1.weight, np.sqrt(6.0 / HIDDEN)), (neck.fc1.bias, 0.1),
            (head.weight, 0.1), (head.bias, 0.1)]
    with torch.no_grad():
        for i, (p, scale) in enumerate(plan):
            v = torch.from_numpy(formula(NECK_HEAD_BASE + i, p.numel())).reshape(p.shape)
            p.copy_(v * np.float32(scale))
    return net, neck, head


class WatchedMemory(Memory):
    """The peer's memory in any precision. It remembers how narrow its decisions were."""

    def __init__(self, dtype, variant):
        super().__init__(N, DIM, K, MEMORY_MOMENTUM, MIN_CLUSTER, variant, split="det")
        self.dtype, self.gap, self.split_gap = dtype, np.inf, np.inf
        self.feature, self.centroid = self.feature.to(dtype), self.centroid.to(dtype)

    def init(self, feature, label):
        self.feature.copy_(odc_memory_ref.normalise(feature.to(self.dtype)))
        self.label.copy_(torch.as_tensor(label))
        assert (self.histogram() > 0).all()
        self.update_centroids()

    def narrow(self, f, c):
        f, c = f.double(), c.double()
        score = f @ c.t() if self.variant == "code" else -torch.cdist(f, c).pow(2)
        best = score.topk(2, dim=1).values
        self.gap = min(self.gap, (best[:, 0] - best[:, 1]).min().item())

    def assign(self, f):
        self.narrow(f, self.centroid)
        return super().assign(f)

    def update_centroids(self, which=None):
        if which is not None:
            return super().update_centroids(which)
        count = torch.bincount(self.label, minlength=self.k)
        total = torch.zeros(self.k, self.dim, dtype=self.dtype).index_add_(0, self.label, self.feature)
        self.centroid[count > 0] = total[count > 0] / count[count > 0, None].to(self.dtype)

    def deal_with_small_clusters(self):
        before = self.histogram()
        small = np.where(before < self.min_cluster)[0]
        keep = np.setdiff1d(np.arange(self.k), small)
        for s in small:
            members = self.feature[self.label == int(s)]
            if len(members):
                self.narrow(members, self.centroid[torch.from_numpy(keep)])
        split, sources = odc_memory_ref.two_means, []
        update = self.update_centroids

        def watched_split(x, max_iter=20):
            side = split(x, max_iter)
            self.split_gap = min(self.split_gap, narrowest_split(x, side))
            return side

        def watched_update(which):
            sources.append(which[0])
            update(which)

        odc_memory_ref.two_means, self.update_centroids = watched_split, watched_update
        try:
            handled = super().deal_with_small_clusters()
        finally:
            odc_memory_ref.two_means = split
            del self.update_centroids
        # What the peer does in one round is what "repeat until none is small" and "the largest
        # NORMAL cluster" do only while these hold.
        require((self.histogram() >= self.min_cluster).all(), "one round is not enough")
        require(set(sources) <= set(keep.tolist()), "a cluster just refilled was split")
        require(self.n_random_split == 0, "a cluster could not be split")
        return handled

    def loss_weight(self, power):
        if self.dtype == torch.float32:
            return super().loss_weight(power)
        w = (1.0 / (self.histogram() + EPS)) ** power
        return torch.from_numpy(w / w.sum())


def narrowest_split(x, side):
    """How nearly another seed pair or another final side would have been taken (squared distances)."""
    x = np.asarray(x, dtype=np.float64)
    far = lambda d: np.diff(np.sort(d)[-2:])[0]
    d0 = ((x - x.mean(0)) ** 2).sum(1)
    d1 = ((x - x[d0.argmax()]) ** 2).sum(1)
    ends = [x[side == s].mean(0) for s in (0, 1)]
    final = np.abs(((x - ends[0]) ** 2).sum(1) - ((x - ends[1]) ** 2).sum(1)).min()
    return min(far(d0), far(d1), final)


def chosen_weights(net, neck, head):
    """What is compared after an iteration; of the large tensor its first 4 output channels."""
    sd = {k: v.detach().clone() for k, v in net.state_dict().items()}
    nk = {k: v.detach().clone() for k, v in neck.state_dict().items()}
    out = {"backbone." + k: sd[k] for k in (
        "conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
        "layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var")}
    out["backbone.layer4.1.conv2.weight[:4]"] = sd["layer4.1.conv2.weight"][:4].clone()
    for k in ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias"):
        out["neck." + k] = nk[k]
    out["neck.bn.running_mean"], out["neck.bn.running_var"] = nk["bn0.running_mean"], nk["bn0.running_var"]
    out["head.weight"], out["head.bias"] = head.weight.detach().clone(), head.bias.detach().clone()
    return out


class Run:
    """An ODC run in any precision; labels None: cluster the initial features first."""

    def __init__(self, rule, pixels, labels=None, dtype=torch.float32, noise=0.0, noise_seed=0):
        self.net, self.neck, self.head = (m.to(dtype) for m in network())
        self.dtype, self.noise = dtype, noise
        self.gen = torch.Generator().manual_seed(noise_seed)
        self.shake()
        self.start = [p.detach().clone() for p in self.parameters()]
        mean, std = torch.tensor(MEAN, dtype=dtype), torch.tensor(STD, dtype=dtype)
        x = (torch.from_numpy(pixels).to(dtype) / 255 - mean) / std
        self.x = x.permute(0, 3, 1, 2).contiguous()
        feature = self.plain_features()
        if labels is None:
            found, _ = kmeans(preprocess(feature.numpy(), 0), K, 0)
            labels = fill_empty(found, K, np.random.RandomState(0))
        self.mem = WatchedMemory(dtype, RULES[rule])
        self.mem.init(feature, labels)
        self.weight = self.mem.loss_weight(POWER)
        self.opt = torch.optim.SGD(
            [{"params": list(self.net.parameters()) + list(self.neck.parameters())},
             {"params": self.head.parameters(), "momentum": 0.0}],
            lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        self.t = 0
        self.first = {"initial_features": feature, "initial_labels": torch.as_tensor(labels).clone(),
                      "initial_centroids": self.mem.centroid.clone(),
                      "initial_loss_weights": self.weight.clone()}
        self.series = {}

    def parameters(self):
        return [p for m in (self.net, self.neck, self.head) for p in m.parameters()]

    def parameter_names(self):
        parts = (("backbone.", self.net), ("neck.", self.neck), ("head.", self.head))
        return [prefix + n for prefix, m in parts for n, _ in m.named_parameters()]

    def shake(self):
        if self.noise:
            with torch.no_grad():
                for p in self.parameters():
                    p.mul_(1 + self.noise * torch.randn(p.shape, generator=self.gen, dtype=self.dtype))

    def plain_features(self):
        self.net.eval(), self.neck.eval()
        with torch.no_grad():
            f = self.neck(self.net(self.x))
        self.net.train(), self.neck.train()
        return f

    def step(self, indices):
        """odc_torch.py's iteration: no more than the loop's body there, and what is written down."""
        i, mem = torch.from_numpy(indices), self.mem
        self.neck.drop.mask = mask(self.t, self.dtype)
        z = self.neck(self.net(self.x[i]))
        loss = weighted_ce(self.head(z), mem.label[i], self.weight, "sum_w")
        self.opt.zero_grad()
        loss.backward()
        if self.t == 0:
            self.first["batch_features_1"] = z.detach().clone()
            self.first["gradient_norms_1"] = torch.stack([p.grad.double().norm() for p in self.parameters()])
        self.opt.step()
        self.shake()
        self.t += 1
        change = mem.update_samples(i, z.detach())
        if self.t % CENTROID_EVERY == 0:
            mem.update_centroids()
        handled = mem.deal_with_small_clusters()
        self.weight = mem.loss_weight(POWER)
        for name, value in (("loss", loss.detach()), ("change_ratio", torch.tensor(change, dtype=torch.float32)),
                            ("handled", torch.tensor(handled)), ("labels_after", mem.label),
                            ("centroids_after", mem.centroid), ("loss_weights_after", self.weight)):
            self.series.setdefault(name, []).append(value.clone())
        if self.t in (1, ITERATIONS):
            chosen = chosen_weights(self.net, self.neck, self.head)
            self.first |= {f"{k}_{self.t}": v for k, v in chosen.items()}
            self.first[f"movements_{self.t}"] = torch.stack(
                [(p.detach().double() - s.double()).norm() for p, s in zip(self.parameters(), self.start)])

    def results(self):
        return {**self.first, **{k: torch.stack(v) for k, v in self.series.items()},
                "features_end": self.mem.feature.clone(), "eval_features_end": self.plain_features()}


def nearest_to_zero(run, indices):
    """The smallest |x| / rms(x) that enters a ReLU in the forward pass of a batch. `run` is spoilt by it."""
    smallest = []

    def look(x):
        smallest.append((x.detach().abs().min() / x.detach().square().mean().sqrt()).item())

    hooks = [m.register_forward_pre_hook(lambda m, args: look(args[0]))
             for m in run.net.modules() if isinstance(m, nn.ReLU)]
    hooks += [m.register_forward_hook(lambda m, args, out: look(out)) for m in (run.neck.bn0, run.neck.fc1)]
    run.neck.drop.mask = mask(run.t, run.dtype)
    with torch.no_grad():
        run.neck(run.net(run.x[torch.from_numpy(indices)]))
    for hook in hooks:
        hook.remove()
    return min(smallest)


def choose_batches(rule, pixels):
    """[ITERATIONS, BATCH] indices with clear decisions: of the batches candidate(t, 0), candidate(t, 1) ...
    iteration t takes the first for which no ReLU's input is nearer to zero than KINK times their root mean square and no label is
    decided by less than CLEAR."""
    run, idx, refused, kink = Run(rule, pixels), [], 0, np.inf
    for t in range(ITERATIONS):
        scratch = copy.deepcopy(run)
        for attempt in range(ATTEMPTS):
            batch = candidate(t, attempt)
            near = nearest_to_zero(scratch, batch)
            if near > KINK:
                trial = copy.deepcopy(run)
                try:
                    trial.step(batch)
                except NotSimple:
                    continue
                if min(trial.mem.gap, trial.mem.split_gap) > CLEAR:
                    break
        else:
            raise NotSimple(f"no clear batch at iteration {t}")
        run, kink, refused = trial, min(kink, near), refused + attempt
        idx.append(batch)
    return np.stack(idx), run, kink, refused


def difference(a, b):
    """Largest difference over the largest value of b."""
    a, b = a.double(), b.double()
    return ((a - b).abs().max() / b.abs().max()).item()


def case(rule, seed):
    """Runs a case in f32, in f64 and with noise. Raises NotSimple where their decisions differ."""
    pixels = images(seed)
    idx, run, kink, refused = choose_batches(rule, pixels)
    f32, labels = run.results(), run.first["initial_labels"].numpy()
    require(f32["handled"].sum() > 0, "no small cluster in all iterations")

    def again(**how):
        other = Run(rule, pixels, labels, **how)
        for batch in idx:
            other.step(batch)
        other = other.results()
        require(torch.equal(other["labels_after"], f32["labels_after"]), f"{how} takes other decisions")
        return other, ((other["loss"] - f32["loss"]) / f32["loss"]).abs().max().item()

    once_more, change = again()
    assert change == 0 and all(torch.equal(once_more[k], v) for k, v in f32.items()), "not reproducible"
    f64, _ = again(dtype=torch.float64)
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        again()
    spread = max(again(noise=NOISE, noise_seed=s)[1] for s in range(6))
    with torch.backends.mkldnn.flags(enabled=False):     # NNPACK's Winograd: ten times the rounding error
        spread = max(spread, again()[1])
    require(spread < 2e-5, f"rounding changes the loss by {spread:.1e}")
    return pixels, idx, run, f32, f64, spread, kink, refused


def write(out, rule):
    for seed in itertools.count(SEEDS[rule]):
        try:
            pixels, idx, run, f32, f64, spread, kink, refused = case(rule, seed)
            break
        except NotSimple as e:
            print(f"{rule}, images of seed {seed}: not fit: {e}", flush=True)
    error = {k: difference(f32[k], v) for k, v in f64.items() if v.is_floating_point()}
    drift = difference(f32["features_end"], f64["features_end"])
    gap, split_gap, names = run.mem.gap, run.mem.split_gap, run.parameter_names()
    about = (
        f"{ITERATIONS} ODC iterations in a row, rule `{rule}`, in the order of odc_torch.py. ResNet-18 width {WIDTH}, "
        f"stem small, {N} images {SIDE}x{SIDE}, K {K}, batch {BATCH}, neck hidden {HIDDEN}, dim {DIM}, lr {LR} constant, "
        f"momentum {MOMENTUM} (head 0), weight decay {WEIGHT_DECAY} on everything, memory momentum {MEMORY_MOMENTUM}, "
        f"threshold {MIN_CLUSTER}, centroids every {CENTROID_EVERY}, small clusters every iteration (deterministic 2-means), "
        f"loss weights power {POWER}, loss sum(w ce)/sum(w); no augmentation. Weights and masks: README.md. "
        f"Clusters handled: {int(f32['handled'].sum())}. Smallest decision gap {gap:.1e} (centroids), {split_gap:.1e} "
        f"(2-means); nearest input of a ReLU {kink:.1e} of its rms; f32 against f64: features {drift:.1e}, loss {error['loss']:.1e} relative; loss with "
        f"other convolutions and with noise of {NOISE:.0e} on all weights after every step: {spread:.1e}. Suggested tolerances: loss 1e-4 "
        f"relative; labels_after, handled, change_ratio exact; all else 1e-3 of the tensor's largest value.")
    t = {"images": torch.from_numpy(pixels), "indices": torch.from_numpy(idx), **f32}
    t = {k: (v.float() if v.dtype == torch.float64 else v).contiguous() for k, v in t.items()}
    t["loss_f64"] = f64["loss"]
    path = os.path.join(out, f"iterations_{rule}.safetensors")
    save_file(t, path, metadata={"about": about, "parameter_names": " ".join(names)})
    size = os.path.getsize(path)
    assert size < 1_000_000
    manifest = os.path.join(out, "manifest.json")
    m = json.load(open(manifest)) if os.path.exists(manifest) else {}
    m[f"iterations_{rule}"] = {
        "about": about, "bytes": size, "parameter_names": names,
        "tensors": {k: [str(v.dtype)[6:], list(v.shape)] for k, v in t.items()}}
    json.dump(m, open(manifest, "w"), indent=1)
    print(path, size)
    print(about)
    for k, v in sorted(error.items(), key=lambda kv: -kv[1])[:8]:
        print(f"  f32 against f64: {v:.1e} {k}")
    print("  loss", [round(v, 4) for v in t["loss"].tolist()])
    print("  handled", t["handled"].tolist(), "change", [round(v, 2) for v in t["change_ratio"].tolist()])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", required=True)
    p.add_argument("--rule", choices=list(RULES), help="one rule only")
    args = p.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for rule in [args.rule] if args.rule else RULES:
        write(args.out, rule)


if __name__ == "__main__":
    main()
