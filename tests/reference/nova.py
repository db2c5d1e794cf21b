"""NumPy: FedNova, written from the paper's equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

from tests.reference.network import combine
from tests.reference.oracles import Oracle


class FedNova(Oracle):
    """The mean of updates per unit of local progress, times the mean progress."""

    def __init__(self, *args, effective="normalisers", by_steps=False, **kw):
        super().__init__(*args, **kw)
        self.effective, self.by_steps, self.steps = effective, by_steps, {}

    def local(self, client, batches):
        """The local phase; notes the number of its steps."""
        self.steps[client] = len(batches)
        return super().local(client, batches)

    def normaliser(self, steps):
        """The sum of the factors with which a round's gradients enter the update, in units of the learning rate."""
        if self.by_steps:
            return steps
        rho, shrink = self.sgd["beta"], self.sgd["lr"] * self.sgd["mu"]
        buffer = total = 0.0
        for _ in range(steps):
            buffer = rho * buffer + 1 - shrink * total
            total += buffer
        return total

    def aggregate(self, results):
        """Subtract ``tau_eff * sum p_i cum_i / a_i``."""
        whole = sum(weight for _, weight, *_ in results)
        share = {client: weight / whole for client, weight, *_ in results}
        reach = {client: self.normaliser(self.steps[client]) for client in share}
        counted = self.steps if self.effective == "steps" else reach
        factor = sum(p * counted[client] for client, p in share.items())
        for client, _, params, *_ in results:
            update = combine(lambda s, x: s - x, self.start, params)
            step = factor * share[client] / reach[client]
            self.server = combine(lambda s, u, a=step: s - a * u, self.server, update)

    def round(self, cohort):
        """All updates start from the model of the round's start."""
        self.start = self.server
        return super().round(cohort)

    def start_of(self, client):
        """Clients keep nothing."""
        return self.server
