"""NumPy: Per-FedAvg, pFedMe and Ditto, one client at a time, written from the papers' equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`; where a step draws several
batches, each entry of ``batches`` is a tuple of them.
"""

import numpy as np

from tests.reference.network import combine, local_run, loss_and_gradient, zeros_like
from tests.reference.oracles import Oracle, average


def moved(model, direction, step):
    """``model + step * direction``."""
    return combine(lambda p, d: p + step * d, model, direction)


def descend(start, batches, gradient, velocity, *, lr, beta):
    """SGD with momentum on ``gradient(model, batch) -> (loss, gradient)``; model, velocity and mean loss."""
    model, losses = start, []
    velocity = zeros_like(start) if velocity is None else velocity
    for batch in batches:
        loss, grads = gradient(model, batch)
        velocity = combine(lambda v, g: beta * v + g, velocity, grads)
        model = moved(model, velocity, -lr)
        losses.append(loss)
    return model, velocity, np.mean(losses)


class TwoTier(Oracle):
    """What the three have in common: data, step size, kept momentum, a model of each client's own."""

    roles = 1

    def slope(self, model, rows):
        """Loss and gradient on rows of the pool."""
        return loss_and_gradient(model, self.x[rows], self.y[rows])

    def fit(self, client, start, batches, gradient, kept):
        """Descend from ``start``; ``kept`` holds each client's momentum."""
        velocity = kept[client] if self.keep else None
        sgd = {name: self.sgd[name] for name in ("lr", "beta")}
        model, kept[client], loss = descend(start, batches, gradient, velocity, **sgd)
        return model, loss

    def served(self):
        """Each client's personal model."""
        return self.own


class PerFedAvg(TwoTier):
    """Batches (D', D) or (D', D, D''): the first gives the outer gradient."""

    def __init__(self, *args, rate, delta=None, **kw):
        super().__init__(*args, **kw)
        self.rate, self.delta = rate, delta
        self.roles = 2 if delta is None else 3

    def meta(self, model, batches):
        """Loss after adaptation and the gradient of it, with or without the Hessian's share."""
        adapted = moved(model, self.slope(model, batches[1])[1], -self.rate)
        loss, outer = self.slope(adapted, batches[0])
        if self.delta is None:
            return loss, outer
        ahead = self.slope(moved(model, outer, self.delta), batches[2])[1]
        behind = self.slope(moved(model, outer, -self.delta), batches[2])[1]
        product = combine(lambda a, b: (a - b) / (2 * self.delta), ahead, behind)
        return loss, moved(outer, product, -self.rate)

    def local(self, client, batches):
        """The local phase from the global model."""
        return self.fit(client, self.server, batches, self.meta, self.velocity)

    def finish(self, client, batches):
        """Plain SGD from the global model."""
        return local_run(self.server, batches, self.x, self.y, lr=self.rate, beta=0.0)[0]


class PFedMe(TwoTier):
    """theta is personal, w is averaged; with ``local_model`` the w is offered instead."""

    def __init__(self, *args, lam, inner_steps, inner_lr, mixing=1.0, local_model=False, **kw):
        super().__init__(*args, **kw)
        self.lam, self.inner_steps, self.inner_lr = lam, inner_steps, inner_lr
        self.mixing, self.local_model = mixing, local_model

    def local(self, client, batches):
        """Local phase: ``(w, loss, theta)``."""
        theta = self.server

        def gradient(w, rows):
            nonlocal theta
            first = self.slope(theta, rows)[0]
            for _ in range(self.inner_steps):
                grads = self.slope(theta, rows)[1]
                theta = combine(lambda t, g, c: t - self.inner_lr * (g + self.lam * (t - c)), theta, grads, w)
            return first, combine(lambda c, t: self.lam * (c - t), w, theta)

        w, loss = self.fit(client, self.server, batches, gradient, self.velocity)
        return w, loss, theta

    def round(self, cohort):
        """One round; reports the personal models."""
        found = [(client, weight, *self.local(client, batches)) for client, weight, batches in cohort]
        mean = average([f[2] for f in found], [f[1] for f in found], self.server)
        self.server = combine(lambda x, m: (1 - self.mixing) * x + self.mixing * m, self.server, mean)
        results = []
        for client, weight, w, loss, theta in found:
            self.own[client] = w if self.local_model else theta
            results.append((client, weight, self.own[client], loss))
        return results


class Ditto(TwoTier):
    """The tether leads to the global model that the round began with."""

    def __init__(self, *args, lam, averages="copies", **kw):
        super().__init__(*args, **kw)
        self.lam, self.averages = lam, averages
        self.personal_velocity = [None] * len(self.own)

    def round(self, cohort):
        """One round; reports the personal models."""
        centre, copies, results = self.server, [], []

        def tethered(v, rows):
            loss, grads = self.slope(v, rows)
            return loss, combine(lambda g, a, w: g + self.lam * (a - w), grads, v, centre)

        for client, weight, batches in cohort:
            copies.append(self.fit(client, centre, batches, self.slope, self.velocity)[0])
            v, loss = self.fit(client, self.own[client], batches, tethered, self.personal_velocity)
            self.own[client] = v
            results.append((client, weight, v, loss))
        if self.averages == "personal":
            copies = [v for _, _, v, _ in results]
        self.server = average(copies, [weight for _, weight, _ in cohort], centre)
        return results
