"""NumPy: the objectives of FedProx, Ditto and SCAFFOLD on any sharing rule, one client at a time, from their equations.

Each function takes the oracle of a rule and returns that of the rule with the objective.
"""

import numpy as np

from tests.reference.fedtlu import FedTLU
from tests.reference.network import combine, loss_and_gradient, zeros_like
from tests.reference.oracles import average, take_layers
from tests.reference.two_tier import descend


class Steps:
    """A local phase whose gradient an objective changes; a mixin before a rule's oracle."""

    def slope(self, model, rows):
        """Loss and gradient on rows of the pool."""
        return loss_and_gradient(model, self.x[rows], self.y[rows])

    def fit(self, start, batches, changed, velocity):
        """Descend along ``changed(model, gradient)``: model, velocity, mean loss and mean plain gradient."""
        seen = []

        def gradient(model, rows):
            loss, grads = self.slope(model, rows)
            seen.append(grads)
            return loss, changed(model, grads)

        sgd = {name: self.sgd[name] for name in ("lr", "beta")}
        model, velocity, loss = descend(start, batches, gradient, velocity, **sgd)
        return model, velocity, loss, combine(lambda *gs: sum(gs) / len(gs), *seen)

    def where_shared(self, tree):
        """Zero in layers that stay with their client."""
        return take_layers(self.shared, tree, zeros_like(tree))


def proximal(rule):
    """FedProx: the pull leads to what the server sent, in the layers that it sent."""

    class Proximal(Steps, rule):
        def __init__(self, *args, mu, **kw):
            super().__init__(*args, **kw)
            self.strength = mu

        def local(self, client, batches):
            start = self.start_of(client)

            def changed(model, grads):
                gap = self.where_shared(combine(lambda p, s: p - s, model, start))
                return combine(lambda g, d: g + self.strength * d, grads, gap)

            velocity = self.velocity[client] if self.keep else None
            model, self.velocity[client], loss, seen = self.fit(start, batches, changed, velocity)
            return model, loss, seen

    return Proximal


def tethered(rule):
    """Ditto: the rule's model as it is, and one of the client's own with a tether to the start of the rule's."""

    class Tethered(Steps, rule):
        def __init__(self, *args, lam, **kw):
            super().__init__(*args, **kw)
            self.lam, self.personal = lam, list(self.own)
            self.personal_velocity = [None] * len(self.own)

        def round(self, cohort):
            found = []
            for client, weight, batches in cohort:
                centre = self.start_of(client)

                def changed(model, grads, centre=centre):
                    return combine(lambda g, v, w: g + self.lam * (v - w), grads, model, centre)

                velocity = self.personal_velocity[client] if self.keep else None
                model, kept, loss, _ = self.fit(self.personal[client], batches, changed, velocity)
                self.personal[client], self.personal_velocity[client] = model, kept
                found.append((client, weight, model, loss))
            super().round(cohort)
            return found

        def served(self):
            return self.personal

    return Tethered


def corrected(rule):
    """SCAFFOLD: c - c_i is added to every gradient, in the layers that the server sent."""

    class Corrected(Steps, rule):
        def __init__(self, *args, option="II", **kw):
            super().__init__(*args, **kw)
            self.option = option
            self.variate = zeros_like(self.server)
            self.variates = [zeros_like(self.server)] * len(self.own)

        def round(self, cohort):
            self.changes = []
            results = super().round(cohort)
            for change in self.changes:
                self.variate = combine(lambda c, d: c + d / len(self.own), self.variate, change)
            return results

        def local(self, client, batches):
            start, own = self.start_of(client), self.variates[client]
            shift = self.where_shared(combine(lambda c, i: c - i, self.variate, own))
            velocity = self.velocity[client] if self.keep else None
            model, self.velocity[client], loss, seen = self.fit(
                start, batches, lambda _, grads: combine(lambda g, s: g + s, grads, shift), velocity
            )
            new = seen
            if self.option == "I":
                new = combine(lambda *gs: sum(gs) / len(gs), *(self.slope(start, rows)[1] for rows in batches))
            change = self.where_shared(combine(lambda a, b: a - b, new, own))
            self.variates[client] = combine(lambda a, b: a + b, own, change)
            self.changes.append(change)
            return model, loss, seen

    return Corrected


class FedTLUBelow(FedTLU):
    """Blocks are chosen among the layers below those that stay with their client."""

    def __init__(self, *args, personal_layers, **kw):
        super().__init__(*args, **kw)
        num = len(self.server)
        self.shared = [i < num - personal_layers for i in range(num)]

    def aggregate(self, results):
        """Average, choose among the shared layers, freeze the rest."""
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        values = np.where(self.shared, self.values(take_layers(self.shared, mean, self.server)), -np.inf)
        order = sorted(range(len(mean)), key=lambda i: (-values[i], i))
        chosen = [i in order[: self.k] and shared for i, shared in enumerate(self.shared)]
        self.server = take_layers(chosen, mean, self.server)
        for client, _, params, *_ in results:
            self.own[client] = params
        self.rounds += 1
