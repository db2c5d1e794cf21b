"""NumPy: FedAMP and HeurFedAMP, one client at a time, written from the paper's equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import numpy as np

from tests.reference.network import combine, local_run
from tests.reference.oracles import Oracle


def flat(model):
    """All numbers of a network as one vector."""
    return np.concatenate([layer[name].ravel() for layer in model for name in sorted(layer)])


def cosine(a, b):
    """Cosine of two networks."""
    a, b = flat(a), flat(b)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class FedAmp(Oracle):
    """Each client's own model, pulled to its mix of the cohort's."""

    def __init__(self, *args, lam, mix_step, sigma, self_weight=None, **kw):
        super().__init__(*args, **kw)
        self.mix_step, self.sigma, self.self_weight = mix_step, sigma, self_weight
        self.sgd["mu"] = lam / mix_step
        self.own_weights = []

    def weights(self, client, members):
        """The mixing weights of one client by member."""
        others = [j for j in members if j != client]
        if self.self_weight is not None:
            raw = {j: np.exp(self.sigma * cosine(self.own[client], self.own[j])) for j in others}
            total = sum(raw.values())
            found = {j: (1 - self.self_weight) * x / total for j, x in raw.items()}
        else:
            gaps = {j: np.sum((flat(self.own[client]) - flat(self.own[j])) ** 2) for j in others}
            found = {j: self.mix_step * np.exp(-gap / self.sigma) / self.sigma for j, gap in gaps.items()}
            total = sum(found.values())
            found = {j: x / max(total, 1) for j, x in found.items()}
        return found | {client: 1 - sum(found.values())}

    def round(self, cohort):
        """All mixes are made before anybody trains."""
        members = [client for client, *_ in cohort]
        every = {client: self.weights(client, members) for client in members}
        self.own_weights.append(np.mean([every[client][client] for client in members]))
        results = []
        for client, weight, batches in cohort:
            xi = every[client]
            mix = combine(lambda *xs, xi=xi: sum(a * x for a, x in zip(xi.values(), xs, strict=True)),
                          *(self.own[j] for j in xi))  # fmt: skip
            velocity = self.velocity[client] if self.keep else None
            model, self.velocity[client], loss, _ = local_run(
                self.own[client], batches, self.x, self.y, velocity=velocity, anchor=mix, **self.sgd
            )
            results.append((client, weight, model, loss))
        for client, _, model, _ in results:
            self.own[client] = model
        return results

    def served(self):
        """Each client's latest model."""
        return self.own
