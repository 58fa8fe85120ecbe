#!/usr/bin/env python3
"""Makes expected.json: numbers of scikit-learn for the cases of expected.rs, and of PyTorch for src/linear_probe.rs.

The same inputs on both sides: splitmix64 as in the manifest of tests/golden (`_formula`). Needs numpy, scipy, scikit-learn,
torch.
"""
import json
import pathlib

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

GAMMA, MASK = 0x9E3779B97F4A7C15, 2**64 - 1


def formula(seed, n):
    i = np.arange(1, n + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed * GAMMA & MASK) + i * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)


def labels(seed, n, classes):
    return np.minimum(((formula(seed, n).astype(np.float64) + 1) / 2 * classes).astype(int), classes - 1)


def blobs(seed, n, dim, classes):
    """Rows around a centre per class, columns of very different scale."""
    y = np.arange(n) % classes
    centres = formula(1000, classes * dim).reshape(classes, dim)
    x = (centres[y] + np.float32(1.5) * formula(seed, n * dim).reshape(n, dim)) * np.float32(2) ** (np.arange(dim) % 5)
    return x.astype(np.float32), y


def clusters(name, a, b):
    m = np.zeros((a.max() + 1, b.max() + 1), dtype=int)
    np.add.at(m, (a, b), 1)
    rows, columns = linear_sum_assignment(-m)
    return dict(name=name, nmi=normalized_mutual_info_score(b, a), ari=adjusted_rand_score(b, a),
                purity=100 * m.max(1).sum() / len(a), hungarian=100 * m[rows, columns].sum() / len(a))


def logistic(xtr, ytr, xte, yte):
    mean, std = xtr.mean(0), xtr.std(0, ddof=1) + 1e-6
    a, b = (xtr - mean) / std, (xte - mean) / std
    out = []
    for decay in (1e-1, 1e-2, 1e-3):
        model = LogisticRegression(C=1 / (decay * len(ytr)), tol=1e-8, max_iter=10000).fit(a, ytr)
        p = model.predict_proba(a)[np.arange(len(ytr)), ytr]
        # scikit-learn leaves the sum of the biases free; weights and probabilities are unique.
        loss = -np.log(p).mean() + decay / 2 * (model.coef_ ** 2).sum()
        out.append(dict(decay=decay, loss=loss, top1=100 * (model.predict(b) == yte).mean()))
    return out


def stage_probe():
    """Batch norm without parameters, linear layer, SGD after Nesterov: 3 batches, shown twice."""
    dim, classes = 10, 4
    x = torch.from_numpy(3 * formula(21, 48 * dim).reshape(48, dim) + np.arange(dim, dtype=np.float32))
    y = torch.tensor([row * 5 % 7 % 4 for row in range(48)])
    start = torch.from_numpy(0.5 * formula(22, (dim + 1) * classes))
    norm, layer = torch.nn.BatchNorm1d(dim, affine=False), torch.nn.Linear(dim, classes)
    with torch.no_grad():
        layer.weight.copy_(start[:dim * classes].reshape(dim, classes).t())
        layer.bias.copy_(start[dim * classes:])
    sgd = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.01)
    losses = []
    for lr in (0.5, 0.05):
        sgd.param_groups[0]["lr"] = lr
        for batch in range(0, 48, 16):
            loss = torch.nn.functional.cross_entropy(layer(norm(x[batch:batch + 16])), y[batch:batch + 16])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
    norm.eval()
    with torch.no_grad():
        parameters = torch.cat([layer.weight.t().reshape(-1), layer.bias])
        return dict(losses=losses, parameters=parameters.tolist(), normalised=norm(x[:4]).reshape(-1).tolist(),
                    classes=layer(norm(x)).argmax(1).tolist())


def main():
    a, b = labels(1, 400, 7), labels(2, 400, 5)
    same = np.where(formula(3, 400) < 0.3, b, a)
    xtr, ytr = blobs(11, 600, 12, 5)
    xte, yte = blobs(12, 300, 12, 5)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    knn = KNeighborsClassifier(15, weights=lambda d: np.exp((1 - d * d / 2) / 0.07))
    expected = dict(
        clusters=[clusters("independent", a, b), clusters("related", same, b), clusters("more clusters", labels(4, 400, 40), b)],
        logistic=logistic(xtr.astype(np.float64), ytr, xte.astype(np.float64), yte),
        knn15=100 * knn.fit(unit(xtr), ytr).score(unit(xte), yte),
        stage_probe=stage_probe(),
    )
    path = pathlib.Path(__file__).with_name("expected.json")
    path.write_text(json.dumps(expected, indent=1) + "\n")


main()
