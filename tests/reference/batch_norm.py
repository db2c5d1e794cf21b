"""NumPy: a tanh network with batch normalisation, its gradient by hand, its running statistics, and FedBN.

Layers are ``Dense_0, BatchNorm_0, tanh, Dense_1, BatchNorm_1, tanh, ..., Dense_n``. Nothing of the package is used.
"""

import numpy as np

STATISTICS = ("mean", "var")
AFFINE = ("scale", "bias")


def forward(params, x, eps, *, running=False):
    """Logits, what each hidden layer's backward pass needs, and the batch's statistics ``[(mean, var), ...]``."""
    hidden = sum(name.startswith("BatchNorm") for name in params)
    trace, statistics = [], []
    for i in range(hidden):
        z = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
        norm = params[f"BatchNorm_{i}"]
        mean, var = (norm["mean"], norm["var"]) if running else (z.mean(0), ((z - z.mean(0)) ** 2).mean(0))
        unit = (z - mean) / np.sqrt(var + eps)
        out = np.tanh(norm["scale"] * unit + norm["bias"])
        trace.append((x, unit, np.sqrt(var + eps), out))
        statistics.append((mean, var))
        x = out
    last = params[f"Dense_{hidden}"]
    return x @ last["kernel"] + last["bias"], [*trace, x], statistics


def loss_and_gradient(params, x, y, eps):
    """Mean softmax cross-entropy on the batch's own statistics, the weights' gradient, and the statistics."""
    logits, trace, statistics = forward(params, x, eps)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    n, hidden = len(y), len(statistics)
    loss = -np.log(p[np.arange(n), y]).mean()
    delta = p.copy()
    delta[np.arange(n), y] -= 1
    delta /= n
    grads = {f"Dense_{hidden}": {"kernel": trace[-1].T @ delta, "bias": delta.sum(0)}}
    for i in reversed(range(hidden)):
        inputs, unit, deviation, out = trace[i]
        delta = (delta @ params[f"Dense_{i + 1}"]["kernel"].T) * (1 - out**2)
        grads[f"BatchNorm_{i}"] = {"scale": (delta * unit).sum(0), "bias": delta.sum(0)}
        delta = delta * params[f"BatchNorm_{i}"]["scale"]
        # mean and variance depend on every row of the batch
        delta = (delta - delta.mean(0) - unit * (delta * unit).mean(0)) / deviation
        grads[f"Dense_{i}"] = {"kernel": inputs.T @ delta, "bias": delta.sum(0)}
    return loss, grads, statistics


def train(params, batches, x, y, *, lr, beta, eps, momentum, velocity=None, decay=0.0):
    """SGD with momentum and weight decay on the weights; exponential averages of the batches' statistics beside it.

    Returns the trained network, the velocity and the mean loss.
    """
    params = {name: dict(leaves) for name, leaves in params.items()}
    velocity = {} if velocity is None else dict(velocity)
    losses = []
    for rows in batches:
        loss, grads, statistics = loss_and_gradient(params, x[rows], y[rows], eps)
        losses.append(loss)
        for name, leaves in grads.items():
            for leaf, g in leaves.items():
                v = beta * velocity.get((name, leaf), 0.0) + g + decay * params[name][leaf]
                velocity[name, leaf] = v
                params[name][leaf] = params[name][leaf] - lr * v
        for i, pair in enumerate(statistics):
            norm = params[f"BatchNorm_{i}"]
            for leaf, seen in zip(STATISTICS, pair, strict=True):
                norm[leaf] = momentum * norm[leaf] + (1 - momentum) * seen
    return params, velocity, float(np.mean(losses)) if losses else 0.0


class FedBN:
    """The kept leaves of norms stay with their client, all others are averaged by weight.

    A round is a list of ``(client, weight, batches)``; batches are rows of the pool.
    """

    def __init__(self, start, num_clients, x, y, *, keep=False, local=(*STATISTICS, *AFFINE), **sgd):
        self.server, self.own = start, [start] * num_clients
        self.x, self.y, self.keep, self.sgd, self.local = x, y, keep, sgd, local
        self.velocity = [None] * num_clients

    def stays(self, name, leaf):
        """Whether a leaf is the client's own."""
        return name.startswith("BatchNorm") and leaf in self.local

    def start_of(self, client):
        """What a client begins with, and is served."""
        own = self.own[client]
        return {
            name: {leaf: own[name][leaf] if self.stays(name, leaf) else x for leaf, x in leaves.items()}
            for name, leaves in self.server.items()
        }

    def round(self, cohort):
        """Train, average; returns ``(client, trained, loss)`` of each."""
        results = []
        for client, weight, batches in cohort:
            velocity = self.velocity[client] if self.keep else None
            params, velocity, loss = train(
                self.start_of(client), batches, self.x, self.y, velocity=velocity, **self.sgd
            )
            self.velocity[client] = velocity
            results.append((client, weight, params, loss))
        total = sum(weight for _, weight, *_ in results)
        if results:
            self.server = {
                name: {
                    leaf: x
                    if self.stays(name, leaf)
                    else sum(w * params[name][leaf] for _, w, params, _ in results) / total
                    for leaf, x in leaves.items()
                }
                for name, leaves in self.server.items()
            }
        for client, _, params, _ in results:
            self.own[client] = params
        return [(client, params, loss) for client, _, params, loss in results]
