"""NumPy: algorithms that send only a part of the layers in a round, one client at a time, from the papers' equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

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
