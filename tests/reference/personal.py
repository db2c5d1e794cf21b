"""NumPy: FedRep, LG-FedAvg and APFL, one client at a time, written from the papers' equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`; FedRep takes a pair
``(head batches, representation batches)`` for each client.
"""

import numpy as np

from tests.reference.network import combine, local_run, loss_and_gradient, zeros_like
from tests.reference.oracles import Oracle, average


class LgFedAvg(Oracle):
    """The first layers stay."""

    def __init__(self, *args, local_layers, **kw):
        super().__init__(*args, **kw)
        self.shared = [i >= local_layers for i in range(len(self.server))]


class FedRep(Oracle):
    """Head under the received representation, then the representation under the new head."""

    def __init__(self, *args, head_layers, **kw):
        super().__init__(*args, **kw)
        num = len(self.server)
        self.shared = [i < num - head_layers for i in range(num)]
        self.momenta = {"head": [None] * len(self.own), "body": [None] * len(self.own)}

    def phase(self, name, client, start, batches):
        """One phase with a momentum of its own."""
        kept = self.momenta[name]
        train = [shared == (name == "body") for shared in self.shared]
        velocity = kept[client] if self.keep else None
        model, kept[client], loss, _ = local_run(
            start, batches, self.x, self.y, velocity=velocity, train=train, **self.sgd
        )
        return model, loss

    def local(self, client, batches):
        """Both phases; the loss is the mean over all their steps."""
        head_batches, body_batches = batches
        model, head_loss = self.phase("head", client, self.start_of(client), head_batches)
        model, body_loss = self.phase("body", client, model, body_batches)
        n, m = len(head_batches), len(body_batches)
        return model, (n * head_loss + m * body_loss) / (n + m), None


def mixture(a, v, w):
    """``a v + (1 - a) w``."""
    return combine(lambda x, y: a * x + (1 - a) * y, v, w)


def inner(a, b):
    """Scalar product of two networks."""
    return sum(float(np.sum(x[name] * y[name])) for x, y in zip(a, b, strict=True) for name in x)


class Apfl(Oracle):
    """``w`` is averaged, ``v`` and the weight ``a`` stay; all three step at once, a in a round's first step only."""

    def __init__(self, *args, personal_weight, rate=None, **kw):
        super().__init__(*args, **kw)
        self.mix = [personal_weight] * len(self.own)
        self.rate = rate
        self.momenta = {"w": [None] * len(self.own), "v": [None] * len(self.own)}

    def slope(self, model, rows):
        """Loss and gradient on rows of the pool."""
        return loss_and_gradient(model, self.x[rows], self.y[rows])

    def local(self, client, batches):
        """Local phase: the mixture, its mean loss, w and v."""
        lr, beta = self.sgd["lr"], self.sgd["beta"]
        w, v, a, losses = self.server, self.own[client], self.mix[client], []
        speed = {k: kept[client] if self.keep and kept[client] else zeros_like(w) for k, kept in self.momenta.items()}
        for step, rows in enumerate(batches):
            at_w = self.slope(w, rows)[1]
            loss, at_mixture = self.slope(mixture(a, v, w), rows)
            losses.append(loss)
            gap = combine(lambda x, y: x - y, v, w)
            speed["w"] = combine(lambda s, g: beta * s + g, speed["w"], at_w)
            speed["v"] = combine(lambda s, g, a=a: beta * s + a * g, speed["v"], at_mixture)
            w = combine(lambda p, s: p - lr * s, w, speed["w"])
            v = combine(lambda p, s: p - lr * s, v, speed["v"])
            if self.rate is not None and step == 0:
                a = min(max(a - self.rate * inner(at_mixture, gap), 0.0), 1.0)
        for name, kept in self.momenta.items():
            kept[client] = speed[name]
        self.mix[client] = a
        return mixture(a, v, w), np.mean(losses), w, v

    def aggregate(self, results):
        """Average w; v stays."""
        self.server = average([r[4] for r in results], [r[1] for r in results], self.server)
        for client, *_, v in results:
            self.own[client] = v

    def served(self):
        """Each client's mixture with the common w."""
        return [mixture(a, v, self.server) for a, v in zip(self.mix, self.own, strict=True)]
