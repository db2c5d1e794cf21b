"""NumPy: algorithms that send only a part of the layers in a round, one client at a time, from the papers' equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import numpy as np

from tests.reference.oracles import Oracle, average, take_layers


class FedLp(Oracle):
    """Each layer is averaged over the clients that sent it; the test says who sends what."""

    kept: dict  # client -> flags of its layers, set before each round

    def aggregate(self, results):
        """Weights are renormalised for each layer; a layer nobody sent stays."""
        server = []
        for index, old in enumerate(self.server):
            senders = [(weight, params[index]) for client, weight, params, *_ in results if self.kept[client][index]]
            total = sum(weight for weight, _ in senders)
            server.append({k: sum(w * layer[k] for w, layer in senders) / total for k in old} if senders else old)
        self.server = server

    def start_of(self, client):
        """Clients keep nothing."""
        return self.server


class FedPart(Oracle):
    """All layers in the warm-up, then one layer for ``turn`` rounds each, and ``full`` rounds after the last."""

    def __init__(self, *args, warmup, turn, full=0, **kw):
        super().__init__(*args, **kw)
        num = len(self.server)
        cycle = [[i == layer for i in range(num)] for layer in range(num) for _ in range(turn)]
        cycle += [[True] * num] * full
        self.schedule = [[True] * num] * warmup + cycle * 4
        self.train = self.schedule.pop(0)

    def aggregate(self, results):
        """The layers that were trained are averaged; the next ones follow."""
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        self.server = take_layers(self.train, mean, self.server)
        self.train = self.schedule.pop(0)

    def start_of(self, client):
        """Clients keep nothing."""
        return self.server


def intervals(discrepancy, sizes, crossing=False):
    """Which layers are averaged seldom: by rising discrepancy, until the two cumulative curves cross."""
    order = sorted(range(len(sizes)), key=lambda layer: discrepancy[layer])
    whole = sum(d * n for d, n in zip(discrepancy, sizes, strict=True))
    relaxed, gain, parameters = [False] * len(sizes), 0.0, 0
    for layer in order:
        gain += discrepancy[layer] * sizes[layer]
        parameters += sizes[layer]
        crossed = gain / whole > 1 - parameters / sum(sizes)
        relaxed[layer] = crossing or not crossed
        if crossed:
            break
    return relaxed


class FedLama(Oracle):
    """Cycles of ``factor`` rounds; relaxed layers are averaged in the last one, the others in all."""

    def __init__(self, *args, factor, crossing=False, overwrite=False, **kw):
        super().__init__(*args, **kw)
        self.factor, self.crossing, self.overwrite = factor, crossing, overwrite
        self.relaxed, self.turn, self.active = [False] * len(self.server), 0, set()
        self.found = []

    def start_of(self, client):
        """In a cycle a client goes on from its own relaxed layers."""
        if client not in self.active or self.overwrite:
            return self.server
        return take_layers([not r for r in self.relaxed], self.server, self.own[client])

    def aggregate(self, results):
        """Average what is due; at the end of a cycle choose the next one's intervals."""
        if not results:
            return
        end = self.turn % self.factor == self.factor - 1
        due = [end or not r for r in self.relaxed]
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        whole = sum(r[1] for r in results)
        sizes = [sum(x.size for x in layer.values()) for layer in mean]
        self.found = [
            sum(w * sum(((u[k] - m[layer][k]) ** 2).sum() for k in u) for _, w, m, *_ in results)
            / (whole * size * (self.factor if self.relaxed[layer] else 1))
            for layer, (u, size) in enumerate(zip(mean, sizes, strict=True))
        ]
        self.server = take_layers(due, mean, self.server)
        for client, _, params, *_ in results:
            self.own[client] = params
            self.active.add(client)
        self.turn += 1
        if end:
            self.active = set()
            self.relaxed = intervals(self.found, sizes, self.crossing) if len(results) > 1 else self.relaxed


def conflicts(updates, below):
    """The pairs of vectors whose cosine is below a number."""
    found = 0
    for i, a in enumerate(updates):
        for b in updates[i + 1 :]:
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            found += bool(lengths) and a @ b / lengths < below
    return found


class FedLag(Oracle):
    """FedAvg for ``warmup`` rounds; then the ``top_k`` layers with most conflicts stay with their client."""

    def __init__(self, *args, top_k, warmup=1, below=0.0, **kw):
        super().__init__(*args, **kw)
        self.top_k, self.warmup, self.below = top_k, warmup, below
        self.turn, self.scores, self.seen = 0, [0] * len(self.server), set()

    def start_of(self, client):
        """Who never took part begins at the server's model."""
        return super().start_of(client) if client in self.seen else self.server

    def aggregate(self, results):
        """Count, average, and decide at the end of the warm-up."""
        if not results:
            return
        if self.turn < self.warmup:
            for layer, old in enumerate(self.server):
                updates = [np.concatenate([(r[2][layer][k] - old[k]).ravel() for k in old]) for r in results]
                self.scores[layer] += conflicts(updates, self.below)
        super().aggregate(results)
        self.seen |= {client for client, *_ in results}
        self.turn += 1
        if self.turn == self.warmup:
            order = sorted(range(len(self.scores)), key=lambda layer: (-self.scores[layer], layer))
            self.shared = [layer not in order[: self.top_k] for layer in range(len(self.scores))]
