"""NumPy: FedFomo, one client at a time, from the paper's equations; coins and tie-breakers are handed in."""

import numpy as np

from tests.reference.network import combine, local_run, loss_and_gradient


def held_back(count, share):
    """How many of a client's last examples it does not train on."""
    return min(max(int(share * count + 0.5), 1), count - 1)


def distance(a, b, absolute=False):
    """Euclidean, or the sum of absolute differences, over all arrays of two networks."""
    gaps = [x[k] - y[k] for x, y in zip(a, b, strict=True) for k in x]
    return sum(np.abs(gap).sum() for gap in gaps) if absolute else np.sqrt(sum((gap**2).sum() for gap in gaps))


class FedFomo:
    """Everybody's latest model, and the affinities."""

    def __init__(self, start, x, y, starts, counts, *, num, share, chance, decay, published=False, keep=False, **sgd):
        clients = len(counts)
        self.models, self.affinity = [start] * clients, np.zeros((clients, clients))
        self.x, self.y, self.starts, self.counts, self.sgd = x, y, starts, counts, sgd
        self.num, self.share, self.chance, self.decay, self.published = num, share, chance, decay, published
        self.keep, self.velocity, self.turn = keep, [None] * clients, 0

    def loss(self, client, model):
        """Mean loss on what the client holds back; ``None`` if that is nothing."""
        held, end = held_back(self.counts[client], self.share), self.starts[client] + self.counts[client]
        rows = np.arange(end - held, end)
        return loss_and_gradient(model, self.x[rows], self.y[rows])[0] if held else None

    def choice(self, client, coin, ties):
        """Whose models come."""
        explore = coin < self.chance * self.decay**self.turn
        others = [c for c in range(len(self.models)) if c != client]
        key = (lambda c: (0, ties[c])) if explore else (lambda c: (-self.affinity[client, c], ties[c]))
        return sorted(others, key=key)[: self.num]

    def mix(self, client, chosen, pool):
        """The client's start, and the weights with their signs, as they count for P."""
        own, before = pool[client], self.loss(client, pool[client])
        weights = {}
        for n in chosen:
            if before is not None and (d := distance(pool[n], own, self.published)) > 0:
                weights[n] = (before - self.loss(client, pool[n])) / d
        total = sum(w for w in weights.values() if w > 0)
        start = own
        for n, w in weights.items():
            if w > 0:
                start = combine(lambda s, o, t, a=w / total: s + a * (t - o), start, own, pool[n])
        if not self.published:
            return start, weights
        whole = abs(sum(weights.values()))
        whole += 1e-9 if whole < 1e-9 else 0.0
        return start, {n: w / whole for n, w in weights.items()}

    def round(self, cohort):
        """One round over ``(client, coin, ties, batches)``; trained models, losses and weights by client."""
        pool, trained, losses, mixed_others = list(self.models), {}, {}, {}
        for client, coin, ties, batches in cohort:
            start, mixed_others[client] = self.mix(client, self.choice(client, coin, ties), pool)
            for n, w in mixed_others[client].items():
                self.affinity[client, n] += w
            speed = self.velocity[client] if self.keep else None
            model, self.velocity[client], losses[client], _ = local_run(
                start, batches, self.x, self.y, velocity=speed, **self.sgd
            )  # fmt: skip
            self.models[client] = trained[client] = model
        self.turn += bool(cohort)
        return trained, losses, mixed_others
