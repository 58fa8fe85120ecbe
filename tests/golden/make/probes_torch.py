#!/usr/bin/env python3
"""Linear probes of PyTorch and scikit-learn on features that `odc extract` wrote: what `odc eval-linear` should say of them.

    odc extract --run RUN --data train.parquet --features stage3 --out train.npy      (labels: train.csv beside it)
    odc extract --run RUN --data test.parquet --features stage3 --out test.npy
    probes_torch.py --train train.npy --test test.npy --protocol stage                (or: pool, logistic)

Prints one JSON line: top-1 in percent for each seed (stage, pool) or each weight decay (logistic).
"""
import argparse
import json

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression


def sgd(xtr, ytr, xte, yte, seed, stage):
    """Batch 256. stage: batch norm without parameters, Nesterov, 90 epochs. pool: lr 30, 100 epochs."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(xtr.shape[1], int(ytr.max()) + 1)
    torch.nn.init.normal_(layer.weight, std=0.01)
    torch.nn.init.zeros_(layer.bias)
    norm = torch.nn.BatchNorm1d(xtr.shape[1], affine=False) if stage else torch.nn.Identity()
    lr, decay, epochs, milestones = (0.01, 1e-4, 90, [30, 60]) if stage else (30.0, 0.0, 100, [60, 80])
    opt = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, weight_decay=decay, nesterov=stage)
    schedule = torch.optim.lr_scheduler.MultiStepLR(opt, milestones, 0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(xtr)).split(256):
            loss = torch.nn.functional.cross_entropy(layer(norm(xtr[rows])), ytr[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
        schedule.step()
    norm.eval()
    with torch.no_grad():
        return 100 * (layer(norm(xte)).argmax(1) == yte).double().mean().item()


def logistic(xtr, ytr, xte, yte, decay):
    """Standardised features; mean cross-entropy + decay/2 |W|^2, run to convergence."""
    mean, std = xtr.mean(0), xtr.std(0, ddof=1) + 1e-6
    model = LogisticRegression(C=1 / (decay * len(ytr)), tol=1e-5, max_iter=3000).fit((xtr - mean) / std, ytr)
    return 100 * model.score((xte - mean) / std, yte)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--train", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--protocol", choices=["stage", "pool", "logistic"], required=True)
    p.add_argument("--seeds", type=int, default=2)
    p.add_argument("--decays", type=float, nargs="+", default=[1e-1, 1e-2, 1e-3, 1e-4])
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    labels = lambda path: np.loadtxt(path.replace(".npy", ".csv"), delimiter=",", skiprows=1, usecols=2, dtype=np.int64)
    sets = [np.load(args.train), labels(args.train), np.load(args.test), labels(args.test)]
    if args.protocol == "logistic":
        sets = [part.astype(np.float64) if part.ndim == 2 else part for part in sets]
        print(json.dumps({f"{decay:g}": round(logistic(*sets, decay), 2) for decay in args.decays}))
        return
    sets = [torch.from_numpy(part) for part in sets]
    top1 = [sgd(*sets, seed, args.protocol == "stage") for seed in range(args.seeds)]
    print(json.dumps(dict(protocol=args.protocol, dim=sets[0].shape[1], mean=round(float(np.mean(top1)), 2), top1=top1)))


main()
