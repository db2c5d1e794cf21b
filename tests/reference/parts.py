"""NumPy: algorithms that send only a part of the layers in a round, one client at a time, from the papers' equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

from tests.reference.oracles import Oracle


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
