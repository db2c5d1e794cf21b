"""Robust rules as their papers write them, in plain NumPy: ``x [n, P]`` are the present clients alone."""

import numpy as np


def median(x):
    ordered = np.sort(x, axis=0)
    n = len(x)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def trimmed_mean(x, b):
    out = np.empty(x.shape[1])
    for p in range(x.shape[1]):
        values = sorted(x[:, p])
        out[p] = sum(values[b : len(values) - b]) / (len(values) - 2 * b)
    return out


def krum_scores(x, neighbours, following=False):
    """The scores; with ``following`` each beside the next neighbour's distance, which decides between equal ones."""
    scores = []
    for i in range(len(x)):
        squares = sorted(float(((x[i] - x[j]) ** 2).sum()) for j in range(len(x)) if j != i)
        score = sum(squares[:neighbours])
        scores.append((score, *squares[neighbours : neighbours + 1]) if following else score)
    return scores


def multi_krum(x, f, m):
    scores = krum_scores(x, len(x) - f - 2, following=True)
    return x[sorted(range(len(x)), key=lambda i: scores[i])[:m]].mean(0)


def bulyan(x, f):
    left, picked = list(range(len(x))), []
    t = len(x) - 2 * f
    while len(picked) < t:
        scores = krum_scores(x[left], max(1, len(left) - f - 2), following=True)
        picked.append(left.pop(scores.index(min(scores))))
    chosen = x[picked]
    out = np.empty(x.shape[1])
    for p in range(x.shape[1]):
        values = sorted(chosen[:, p])
        middle = (values[(t - 1) // 2] + values[t // 2]) / 2
        out[p] = np.mean(sorted(values, key=lambda v: abs(v - middle))[: t - 2 * f])
    return out


def weiszfeld(x, w, z, steps, nu):
    for _ in range(steps):
        b = np.array([w[i] / max(nu, np.sqrt(((z - x[i]) ** 2).sum())) for i in range(len(x))])
        z = (b[:, None] * x).sum(0) / b.sum()
    return z


def centred_clipping(x, w, v, tau, steps):
    for _ in range(steps):
        moves = []
        for i in range(len(x)):
            gap = x[i] - v
            norm = np.sqrt((gap**2).sum())
            moves.append(w[i] / w.sum() * gap * (1 if norm == 0 else min(1, tau / norm)))
        v = v + sum(moves)
    return v
