#!/usr/bin/env python3
"""Makes expected.json: numbers of scikit-learn for the cases of expected.rs, and of PyTorch for src/linear_probe.rs
and src/fine_tuning.rs.

The same inputs on both sides: splitmix64 as in the manifest of tests/golden (`_formula`). Needs numpy, scipy, scikit-learn,
torch, torchvision.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, average_precision_score, normalized_mutual_info_score, precision_recall_curve
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

sys.path.append(str(pathlib.Path(__file__).parents[3] / "tests/golden/make"))
from resnet_ref import ResNet

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


def concepts(seed, rows, classes):
    """What rows show: 1, not -1, to be ignored 0; several classes each, by noisy half-spaces."""
    x = unit(rows.astype(np.float64))
    side = np.stack([x @ formula(2000 + c, x.shape[1]).astype(np.float64) for c in range(classes)], 1)
    noise = formula(seed, side.size).astype(np.float64).reshape(side.shape)
    shows = np.where(side + 0.6 * noise > 0.35, 1, -1)
    return np.where(np.abs(noise) < 0.05, 0, shows)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def interpolated(y, scores):
    """Precision and recall from the highest score down, precision being the best at that recall or higher."""
    precision, recall, _ = precision_recall_curve(y, scores)
    precision, recall = precision[::-1][1:], recall[::-1][1:]
    return np.maximum.accumulate(precision[::-1])[::-1], recall


def area_interpolated(y, scores):
    precision, recall = interpolated(y, scores)
    return float((np.diff(recall, prepend=0) * precision).sum())


def voc11(y, scores):
    precision, recall = interpolated(y, scores)
    best = [precision[recall >= t / 10 - 1e-12] for t in range(11)]
    return float(np.mean([b.max() if len(b) else 0 for b in best]))


def svm(xtr, ttr, xte, tte, costs):
    """For each class: every cost's objective and 3-fold average precision, the chosen cost, test average precision."""
    out, decisions = [], []
    for c in range(ttr.shape[1]):
        known, asked = ttr[:, c] != 0, tte[:, c] != 0
        x, y, yte = xtr[known], ttr[known, c], tte[asked, c]
        model = lambda cost: LinearSVC(C=cost, class_weight={1: 2, -1: 1}, loss="squared_hinge", dual=False, tol=1e-8,
                                       intercept_scaling=1.0, max_iter=100000)
        objectives, validated, models = [], [], []
        for cost in costs:
            fit = model(cost).fit(x, y)
            short = np.maximum(0, 1 - y * fit.decision_function(x))
            weight = np.where(y > 0, 2, 1)
            objectives.append((fit.coef_ ** 2).sum() / 2 + fit.intercept_[0] ** 2 / 2 + cost * (weight * short ** 2).sum())
            validated.append(100 * cross_val_score(model(cost), x, y, cv=3, scoring="average_precision").mean())
            models.append(fit)
        best = int(np.argmax(validated))
        decisions.append(models[best].decision_function(xte))
        scores = decisions[-1][asked]
        out.append(dict(objectives=objectives, validated=validated, cost=costs[best], positives=int((y > 0).sum()),
                        area=100 * average_precision_score(yte, scores), interpolated=100 * area_interpolated(yte, scores),
                        voc11=100 * voc11(yte, scores)))
    top = np.argmax(decisions, 0)
    return dict(costs=costs, classes=out, accuracy=100 * np.mean(tte[np.arange(len(tte)), top] == 1))


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


def fine_tuning():
    """A ResNet-18 and a linear layer by SGD: 16 images of one colour each in one batch, 5 epochs, falls before the 3rd and 5th."""
    net, head, classes = ResNet("resnet18", 4, "small"), torch.nn.Linear(32, 4), 4
    with torch.no_grad():
        for place, (name, parameter) in enumerate(net.named_parameters()):
            values = torch.from_numpy(formula(100 + place, parameter.numel())).reshape(parameter.shape)
            parameter.copy_((1 if ".weight" in name else 0) + 0.2 * values if parameter.dim() == 1 else 0.3 * values)
        for place, parameter in enumerate(head.parameters()):
            parameter.copy_(0.3 * torch.from_numpy(formula(90 + place, parameter.numel())).reshape(parameter.shape))
    colours = np.floor((formula(36, 16 * 3).astype(np.float64) + 1) * 127.5).reshape(16, 3, 1, 1)
    mean, std = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1), np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    x = torch.from_numpy(((colours / 255 - mean) / std).astype(np.float32)).expand(16, 3, 16, 16)
    y = torch.arange(16) % classes
    groups = [dict(params=net.parameters(), lr=0.02), dict(params=head.parameters(), lr=0.2)]
    sgd = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [2, 4], 0.2)
    # In f64: with these colours no relu hangs on rounding, f32 differs by 1e-5.
    net, head, x = net.double(), head.double(), x.double()
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(head(net(x)), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        return dict(conv1=net.conv1.weight.reshape(-1).tolist(), head=head.weight.reshape(-1).tolist(),
                    running_mean=net.layer4[1].bn2.running_mean.tolist(), logits=head(net(x)).reshape(-1).tolist())


def main():
    a, b = labels(1, 400, 7), labels(2, 400, 5)
    same = np.where(formula(3, 400) < 0.3, b, a)
    xtr, ytr = blobs(11, 600, 12, 5)
    xte, yte = blobs(12, 300, 12, 5)
    knn = KNeighborsClassifier(15, weights=lambda d: np.exp((1 - d * d / 2) / 0.07))
    expected = dict(
        clusters=[clusters("independent", a, b), clusters("related", same, b), clusters("more clusters", labels(4, 400, 40), b)],
        logistic=logistic(xtr.astype(np.float64), ytr, xte.astype(np.float64), yte),
        knn15=100 * knn.fit(unit(xtr), ytr).score(unit(xte), yte),
        stage_probe=stage_probe(),
        fine_tuning=fine_tuning(),
    )
    one_of = lambda y: np.where(y[:, None] == np.arange(5), 1, -1)
    a, b = unit(xtr.astype(np.float64)), unit(xte.astype(np.float64))
    expected["svm_one_label"] = svm(a, one_of(ytr), b, one_of(yte), [0.001, 0.1, 10.0])
    expected["svm_several_labels"] = svm(a, concepts(21, xtr, 4), b, concepts(22, xte, 4), [0.01, 1.0, 100.0])
    del expected["svm_several_labels"]["accuracy"]
    path = pathlib.Path(__file__).with_name("expected.json")
    path.write_text(json.dumps(expected, indent=1) + "\n")


main()
