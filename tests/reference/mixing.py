"""NumPy: pFedLA and HeurpFedLA, one client at a time, from the paper's equations, with the gradient by hand."""

import numpy as np

from tests.reference.network import combine, local_run


def flat(layer):
    """A layer as one vector."""
    return np.concatenate([np.ravel(layer[k]) for k in sorted(layer)])


def forward(net, client, *, relu=False, bias=0.0):
    """Weights ``[L, C]`` of one client's hypernetwork, and what the way back needs."""
    acts = [net["embedding"]]
    for layer in net["trunk"]:
        acts.append(np.maximum(acts[-1] @ layer["kernel"] + layer["bias"], 0))
    outputs = np.einsum("h,lhc->lc", acts[-1], net["heads"]["kernel"]) + net["heads"]["bias"]
    outputs[:, client] += bias
    if relu:
        raw = np.maximum(outputs, 0)
        total = raw.sum(1, keepdims=True)
        alone = np.arange(raw.shape[1]) == client
        alpha = np.where(total > 0, raw / np.where(total > 0, total, 1), alone)
    else:
        raw = np.exp(outputs - outputs.max(1, keepdims=True))
        alpha = raw / raw.sum(1, keepdims=True)
    return alpha, acts, outputs


def backward(net, acts, outputs, alpha, slopes, *, relu=False):
    """Gradient of ``sum(alpha * slopes)`` by the network's parameters."""
    centred = slopes - (alpha * slopes).sum(1, keepdims=True)
    if relu:
        total = np.maximum(outputs, 0).sum(1, keepdims=True)
        dz = np.where((outputs > 0) & (total > 0), centred / np.where(total > 0, total, 1), 0)
    else:
        dz = alpha * centred
    grads = {"heads": {"kernel": np.einsum("h,lc->lhc", acts[-1], dz), "bias": dz}, "trunk": []}
    dx = np.einsum("lhc,lc->h", net["heads"]["kernel"], dz)
    for i in reversed(range(len(net["trunk"]))):
        dx = dx * (acts[i + 1] > 0)
        grads["trunk"].insert(0, {"kernel": np.outer(acts[i], dx), "bias": dx})
        dx = net["trunk"][i]["kernel"] @ dx
    return {"embedding": dx, **grads}


def step(tree, grads, rate):
    """One step of plain SGD on a nested dictionary of arrays."""
    if isinstance(tree, dict):
        return {k: step(v, grads[k], rate) for k, v in tree.items()}
    if isinstance(tree, list):
        return [step(v, g, rate) for v, g in zip(tree, grads, strict=True)]
    return tree - rate * grads


class PFedLA:
    """Pool and hypernetworks of all clients; ``nets`` is one nested dictionary for each.

    ``retained`` is HeurpFedLA's k. With ``upload=False`` kept layers do not reach the pool. With ``fresh`` only entries
    at most so many rounds old are heard.
    """

    def __init__(self, start, clients, nets, x, y, *, rate, sign=1, relu=False, bias=0.0, sequential=False,
                 retained=0, upload=True, added=False, fresh=None, **sgd):  # fmt: skip
        self.pool = [start] * clients
        self.own = [start] * clients
        self.nets = nets
        self.x, self.y, self.sgd = x, y, sgd
        self.rate, self.sign, self.relu, self.bias = rate, sign, relu, bias
        self.sequential, self.retained, self.upload, self.added = sequential, retained, upload, added
        self.fresh, self.rounds, self.renewed = fresh, 0, [-np.inf] * clients

    def heard(self, client):
        """Whose entries may be mixed, 0 or 1 for each client."""
        if self.fresh is None:
            return np.ones(len(self.pool))
        return np.array([self.rounds - t <= self.fresh or c == client for c, t in enumerate(self.renewed)], float)

    def weights(self, client):
        """Alpha with kept rows as one-hot, the kept layers, and what the way back needs."""
        raw, acts, outputs = forward(self.nets[client], client, relu=self.relu, bias=self.bias)
        alpha = raw * self.heard(client)
        alpha = alpha / alpha.sum(1, keepdims=True)
        order = sorted(range(len(alpha)), key=lambda layer: (-alpha[layer, client], layer))
        kept = set(order[: self.retained])
        used = np.array([np.arange(alpha.shape[1]) == client if i in kept else alpha[i] for i in range(len(alpha))])
        return used.astype(float), kept, (acts, outputs, raw, alpha)

    def learn(self, client, slopes):
        """One step of the client's hypernetwork."""
        _, _, (acts, outputs, raw, alpha) = self.weights(client)
        heard = self.heard(client)
        slopes = heard * (slopes - (alpha * slopes).sum(1, keepdims=True)) / (raw * heard).sum(1, keepdims=True)
        grads = backward(self.nets[client], acts, outputs, raw, slopes, relu=self.relu)
        self.nets[client] = step(self.nets[client], grads, self.rate * self.sign)

    def mix(self, client, pool):
        """The client's start from a pool."""
        alpha, kept, _ = self.weights(client)
        mixed = []
        for i in range(len(alpha)):
            if i in kept:
                mixed.append(self.own[client][i])
            else:
                mixed.append({k: sum(a * m[i][k] for a, m in zip(alpha[i], pool, strict=True)) for k in pool[0][i]})
        return mixed

    def served(self):
        """What the next round would start from."""
        return [self.mix(c, self.pool) for c in range(len(self.pool))]

    def round(self, cohort):
        """One round over ``(client, weight, batches)``; the trained models and losses by client."""
        pool, trained, losses = list(self.pool), {}, {}
        for client, _, batches in cohort:
            seen = list(self.pool if self.sequential else pool)
            start = self.mix(client, seen)
            model, _, loss, _ = local_run(start, batches, self.x, self.y, **self.sgd)
            _, kept, _ = self.weights(client)
            slopes = np.array(
                [
                    [0.0 if i in kept else flat(other[i]) @ (flat(start[i]) - flat(model[i])) for other in seen]
                    for i in range(len(model))
                ]
            )
            self.learn(client, slopes)
            entry = combine(lambda o, t, s: o + (t - s), seen[client], model, start) if self.added else model
            if not self.upload:
                entry = [seen[client][i] if i in kept else entry[i] for i in range(len(entry))]
            self.pool[client] = entry
            self.own[client] = model
            trained[client], losses[client] = model, loss
        for client in trained:
            self.renewed[client] = self.rounds
        self.rounds += 1
        return trained, losses


class LayerMix(PFedLA):
    """Fixed rules from the pool that a round begins with, and free logits (``nets`` are those, ``[L, C]`` each)."""

    def __init__(self, *args, kind, self_weight=0.5, temperature=0.5, **kw):
        super().__init__(*args, **kw)
        self.kind, self.self_weight, self.temperature = kind, self_weight, temperature
        self.freeze()

    def freeze(self):
        """What likenesses are taken from during the next round."""
        self.likeness_pool = list(self.pool)

    def weights(self, client):
        num, layers = len(self.pool), len(self.pool[0])
        if self.kind == "logits":
            alpha = softmax(self.nets[client])
        elif self.kind == "self":
            alpha = np.full((layers, num), (1 - self.self_weight) / (num - 1))
            alpha[:, client] = self.self_weight
        else:
            alpha = np.stack([self.likeness(client, layer) for layer in range(layers)])
        return alpha, set(), None

    def likeness(self, client, layer):
        """One row of weights by likeness."""
        models = np.array([flat(m[layer]) for m in self.likeness_pool])
        models = models - models.mean(0)
        if self.kind == "cosine":
            norms = np.array([np.linalg.norm(m) for m in models])
            cosines = [m @ models[client] / max(n * norms[client], 1e-300) for m, n in zip(models, norms, strict=True)]
            return softmax(np.array(cosines) / self.temperature)
        squares = np.array([[((a - b) ** 2).sum() for b in models] for a in models])
        mean = squares.mean()
        return softmax(-squares[client] / (mean if mean > 0 else 1) / self.temperature)

    def learn(self, client, slopes):
        if self.kind == "logits":
            alpha = softmax(self.nets[client])
            slopes = slopes - (alpha * slopes).sum(1, keepdims=True)
            self.nets[client] = self.nets[client] - self.rate * alpha * slopes

    def round(self, cohort):
        results = super().round(cohort)
        self.freeze()
        return results


def softmax(x):
    """Over the last axis."""
    raw = np.exp(x - x.max(-1, keepdims=True))
    return raw / raw.sum(-1, keepdims=True)
