"""NumPy: pFedHN, one client at a time; every gradient of the hypernetwork by hand, then torch's SGD."""

import numpy as np

from tests.reference.network import combine, local_run


def leaves(tree):
    """All arrays of nested dictionaries and lists."""
    if isinstance(tree, dict):
        return [x for name in sorted(tree) for x in leaves(tree[name])]
    return [x for part in tree for x in leaves(part)] if isinstance(tree, list) else [tree]


def nested(fn, *trees):
    """``fn`` on corresponding arrays of nested dictionaries and lists."""
    if isinstance(trees[0], dict):
        return {k: nested(fn, *(t[k] for t in trees)) for k in trees[0]}
    if isinstance(trees[0], list):
        return [nested(fn, *parts) for parts in zip(*trees, strict=True)]
    return fn(*trees)


class PFedHN:
    """One hypernetwork: ``embedding [C, E]``, ``trunk``, ``heads`` of ``kernel [H, ...]`` and ``bias``."""

    def __init__(self, net, x, y, *, rate, momentum, decay, clip, sequential=False, keep=False, **sgd):
        self.net, self.x, self.y, self.sgd = net, x, y, sgd
        self.rate, self.momentum, self.decay, self.clip = rate, momentum, decay, clip
        self.speed = nested(np.zeros_like, net)
        self.sequential, self.keep = sequential, keep
        self.velocity = [None] * len(net["embedding"])

    def forward(self, client):
        """The client's model, and what each trunk layer put out."""
        acts = [self.net["embedding"][client]]
        for layer in self.net["trunk"]:
            acts.append(np.maximum(acts[-1] @ layer["kernel"] + layer["bias"], 0))
        heads = self.net["heads"]
        return combine(lambda w, b: np.tensordot(acts[-1], w, 1) + b, heads["kernel"], heads["bias"]), acts

    def gradient(self, client, acts, delta):
        """Clipped gradient of ``<h(v_i), delta>``."""
        heads, trunk = self.net["heads"], []
        dx = sum(
            np.tensordot(w[k], d[k], d[k].ndim) for w, d in zip(heads["kernel"], delta, strict=True) for k in d
        )  # fmt: skip
        for i in reversed(range(len(self.net["trunk"]))):
            dx = dx * (acts[i + 1] > 0)
            trunk.insert(0, {"kernel": np.outer(acts[i], dx), "bias": dx})
            dx = self.net["trunk"][i]["kernel"] @ dx
        table = np.zeros_like(self.net["embedding"])
        table[client] = dx
        kernel = combine(lambda d: np.multiply.outer(acts[-1], d), delta)
        grads = {"embedding": table, "trunk": trunk, "heads": {"kernel": kernel, "bias": delta}}
        norm = np.sqrt(sum((g**2).sum() for g in leaves(grads)))
        self.norms.append(norm)
        return nested(lambda g: g * min(1.0, self.clip / norm), grads) if norm > 0 else grads

    def step(self, grads):
        """SGD with weight decay and momentum on the mean gradient."""
        mean = nested(lambda *g: sum(g) / len(g), *grads)
        decayed = nested(lambda g, p: g + self.decay * p, mean, self.net)
        self.speed = nested(lambda s, g: self.momentum * s + g, self.speed, decayed)
        self.net = nested(lambda p, s: p - self.rate * s, self.net, self.speed)

    def round(self, cohort):
        """One round over ``(client, batches)``; trained models and losses by client."""
        trained, losses, grads, self.norms = {}, {}, [], []
        for client, batches in cohort:
            start, acts = self.forward(client)
            speed = self.velocity[client] if self.keep else None
            model, self.velocity[client], loss, _ = local_run(
                start, batches, self.x, self.y, velocity=speed, **self.sgd
            )  # fmt: skip
            grads.append(self.gradient(client, acts, combine(lambda s, t: s - t, start, model)))
            trained[client], losses[client] = model, loss
            if self.sequential:
                self.step(grads)
                grads = []
        if grads:
            self.step(grads)
        return trained, losses

    def served(self):
        """Everybody's model as the hypernetwork stands."""
        return [self.forward(c)[0] for c in range(len(self.velocity))]
