"""NumPy: every algorithm of the registry, one client at a time, written from the papers' equations.

A round is a list of ``(client, weight, batches)``; batches are rows of the pool. Nothing of the package is used.
"""

import numpy as np

from tests.reference.network import combine, local_run


def average(models, weights, fallback):
    """Weighted mean of networks; the fallback where nobody came."""
    if not models:
        return fallback
    total = sum(weights)
    return combine(lambda *xs: sum(w * x for w, x in zip(weights, xs, strict=True)) / total, *models)


def take_layers(shared, on, off):
    """Layers of ``on`` where shared, else of ``off``."""
    return [a if s else b for s, a, b in zip(shared, on, off, strict=True)]


class Oracle:
    """Layers in ``shared`` are averaged, the others stay with their client."""

    def __init__(self, start, num_clients, x, y, *, lr, beta, keep, mu=0.0):
        self.x, self.y = x, y
        self.sgd = {"lr": lr, "beta": beta, "mu": mu}
        self.keep = keep
        self.server = start
        self.own = [start] * num_clients
        self.velocity = [None] * num_clients
        self.shared = [True] * len(start)
        self.train = None

    def start_of(self, client):
        """Where a client begins."""
        return take_layers(self.shared, self.server, self.own[client])

    def local(self, client, batches):
        """One client's local phase; remembers what it is told to keep."""
        velocity = self.velocity[client] if self.keep else None
        params, velocity, loss, grad = local_run(
            self.start_of(client), batches, self.x, self.y, velocity=velocity, train=self.train, **self.sgd
        )
        if self.keep:
            self.velocity[client] = velocity
        return params, loss, grad

    def round(self, cohort):
        """One round: train, average the shared layers."""
        results = [(client, weight, *self.local(client, batches)) for client, weight, batches in cohort]
        self.aggregate(results)
        return results

    def aggregate(self, results):
        """Average the shared layers and keep what each client trained."""
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        self.server = take_layers(self.shared, mean, self.server)
        for client, _, params, *_ in results:
            self.own[client] = params

    def served(self):
        """Each client's model at the start of the next round."""
        return [self.start_of(c) for c in range(len(self.own))]


class Local(Oracle):
    """Nothing shared."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.shared = [False] * len(self.server)


class FedPer(Oracle):
    """All but the last layers."""

    def __init__(self, *args, personal_layers=1, **kw):
        super().__init__(*args, **kw)
        num = len(self.server)
        self.shared = [i < num - personal_layers for i in range(num)]


class FixedSharing(Oracle):
    """The layers of a list of flags."""

    def __init__(self, *args, flags, **kw):
        super().__init__(*args, **kw)
        self.shared = list(flags)


class FedBabu(Oracle):
    """Body trained and shared under the common random head; at the end the head alone, fresh momentum."""

    def __init__(self, *args, head_layers=1, **kw):
        super().__init__(*args, **kw)
        num = len(self.server)
        self.body = self.train = [i < num - head_layers for i in range(num)]

    def aggregate(self, results):
        """The head is the start's for ever, so every layer of the server is common."""
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        self.server = take_layers(self.body, mean, self.server)

    def finish(self, client, batches):
        """Head-only fine-tuning."""
        head = [not b for b in self.body]
        return local_run(self.server, batches, self.x, self.y, train=head, **self.sgd)[0]


class LocalAdaptation(Oracle):
    """FedAvg and a last local phase."""

    def finish(self, client, batches):
        """Full fine-tuning of the global model."""
        velocity = self.velocity[client] if self.keep else None
        return local_run(self.server, batches, self.x, self.y, velocity=velocity, **self.sgd)[0]


class PLayerFL(Oracle):
    """First round: score, cut at the first jump, then share the prefix."""

    def __init__(self, *args, threshold=1.5, **kw):
        super().__init__(*args, **kw)
        self.threshold, self.cut = threshold, None

    def aggregate(self, results):
        """The first results decide the cut."""
        if self.cut is None and results:
            ratios = []
            for _, _, params, _, grad in results:
                s = np.array([np.mean((p["w"] * g["w"]) ** 2) for p, g in zip(params, grad, strict=True)])
                ratios.append(s / s[0])
            self.scores = np.mean(ratios, axis=0)
            self.cut = len(self.scores)
            for k in range(len(self.scores) - 1):
                if self.scores[k + 1] / self.scores[k] > self.threshold:
                    self.cut = k + 1
                    break
            self.shared = [i < self.cut for i in range(len(self.server))]
        super().aggregate(results)


def fed_adam_step(server, mean, m, v, *, lr, beta1, beta2, eps, step):
    """One step of Adam on the pseudo-gradient ``server - mean`` (with bias correction, as optax has it)."""
    g = combine(lambda a, b: a - b, server, mean)
    m = combine(lambda a, b: beta1 * a + (1 - beta1) * b, m, g)
    v = combine(lambda a, b: beta2 * a + (1 - beta2) * b * b, v, g)
    c1, c2 = 1 - beta1**step, 1 - beta2**step
    server = combine(lambda s, a, b: s - lr * (a / c1) / (np.sqrt(b / c2) + eps), server, m, v)
    return server, m, v
