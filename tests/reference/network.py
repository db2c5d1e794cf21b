"""NumPy: the tanh network of the oracle tests, its loss and its gradient by hand, and SGD with momentum."""

import numpy as np


def loss_and_gradient(params, x, y):
    """Mean softmax cross-entropy of a tanh network, and its gradient."""
    acts, h = [x], x
    for i, layer in enumerate(params):
        z = h @ layer["w"] + layer["b"]
        h = np.tanh(z) if i < len(params) - 1 else z
        acts.append(h)
    z = acts[-1] - acts[-1].max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    n = len(y)
    loss = -np.log(p[np.arange(n), y]).mean()
    delta = p.copy()
    delta[np.arange(n), y] -= 1
    delta /= n
    grads = [None] * len(params)
    for i in reversed(range(len(params))):
        grads[i] = {"w": acts[i].T @ delta, "b": delta.sum(0)}
        if i:
            delta = (delta @ params[i]["w"].T) * (1 - acts[i] ** 2)
    return loss, grads


def zeros_like(params):
    """The same network, all zero."""
    return [{k: np.zeros_like(v) for k, v in layer.items()} for layer in params]


def combine(fn, *models):
    """Apply ``fn`` to the corresponding arrays of several networks."""
    return [{k: fn(*(m[i][k] for m in models)) for k in models[0][i]} for i in range(len(models[0]))]


def local_run(params, batches, x, y, *, lr, beta, velocity=None, mu=0.0, train=None, anchor=None):
    """One client's local phase.

    The proximal term pulls to ``anchor``, by default the start. Returns the trained network, the momentum, the mean
    loss and the mean gradient (without the proximal term).
    """
    anchor = params if anchor is None else anchor
    velocity = zeros_like(params) if velocity is None else velocity
    grad_sum, loss_sum = zeros_like(params), 0.0
    for rows in batches:
        loss, grads = loss_and_gradient(params, x[rows], y[rows])
        loss_sum += loss
        grad_sum = combine(lambda s, g: s + g, grad_sum, grads)
        pulled = combine(lambda g, p, a: g + mu * (p - a), grads, params, anchor)
        velocity = combine(lambda v, g: beta * v + g, velocity, pulled)
        moved = combine(lambda p, v: p - lr * v, params, velocity)
        params = [moved[i] if train is None or train[i] else params[i] for i in range(len(params))]
    steps = max(len(batches), 1)
    return params, velocity, loss_sum / steps, combine(lambda g: g / steps, grad_sum)
