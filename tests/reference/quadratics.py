"""NumPy, float64: PerMFL on quadratics in closed form, and its constants.

Client losses are ``f_c(theta) = 1/2 (theta - centre_c)^T A_c (theta - centre_c)`` with the eigenvalues of every ``A_c``
between ``mu`` and ``smoothness``. Then every map of a round is affine. With K team rounds of L client steps, and

    envelope(a) = team_lambda * a / (a + client_lambda) * (1 - (1 - alpha * (a + client_lambda))^L)
    nested(h)   = gamma * h / (gamma + h) * (1 - (1 - eta * (gamma + h))^K),

one global round is ``x - beta * P (x - fixed_point)``, P the mean over teams of ``nested(mean of envelope(A_c))``.
Infinite K and L are the exact inner solves: their P is the Hessian of the nested Moreau problem phi. With step sizes in
their safe ranges ``envelope`` and ``nested`` increase with their arguments, so the eigenvalues of P lie between
``nested(envelope(mu))`` and ``nested(envelope(smoothness))``; for exact solves these are the note's mu_2 and L_2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Quadratics:
    """Clients' losses: ``hessians [C, d, d]``, ``centres [C, d]``, ``team_of [C]``, bounds of all eigenvalues."""

    hessians: np.ndarray
    centres: np.ndarray
    team_of: np.ndarray
    mu: float
    smoothness: float

    @property
    def num_teams(self) -> int:
        """T."""
        return int(self.team_of.max()) + 1


def random_quadratics(
    seed: int,
    team_sizes: Sequence[int] = (2, 4, 1),
    dim: int = 10,
    mu: float = 0.5,
    smoothness: float = 4.0,
    shared_axes: bool = False,
) -> Quadratics:
    """Losses with ``mu`` and ``smoothness`` among the eigenvalues of every client, clients in mixed order.

    With ``shared_axes`` all Hessians have the same eigenvectors, and the same one belongs to ``mu`` (and another one to
    ``smoothness``) everywhere: then the bounds of this module are attained.
    """
    rng = np.random.default_rng(seed)
    team_of = rng.permutation(np.repeat(np.arange(len(team_sizes)), team_sizes))
    clients = len(team_of)
    values = rng.uniform(mu, smoothness, (clients, dim))
    values[:, 0], values[:, -1] = mu, smoothness
    axes = np.linalg.qr(rng.normal(size=(1 if shared_axes else clients, dim, dim)))[0]
    hessians = np.einsum("cij,cj,ckj->cik", np.broadcast_to(axes, (clients, dim, dim)), values, axes)
    return Quadratics(hessians, 2 * rng.normal(size=(clients, dim)), team_of, mu, smoothness)


@dataclasses.dataclass(frozen=True)
class Round:
    """One global round with these coefficients; infinite ``team_rounds`` and ``steps`` are the exact inner solves."""

    losses: Quadratics
    client_lambda: float
    team_lambda: float
    gamma: float
    beta: float
    eta: float = 0.0
    alpha: float = 0.0
    team_rounds: float = np.inf
    steps: float = np.inf

    @property
    def exact(self) -> Round:
        """The same round with exact inner solves."""
        return dataclasses.replace(self, team_rounds=np.inf, steps=np.inf)

    def envelope(self, a: float | np.ndarray) -> float | np.ndarray:
        """Curvature of a client's envelope, as its team sees it, where the loss has curvature ``a``."""
        error = _left(1 - self.alpha * (a + self.client_lambda), self.steps)
        return self.team_lambda * a / (a + self.client_lambda) * (1 - error)

    def nested(self, h: float | np.ndarray) -> float | np.ndarray:
        """Curvature of a team's envelope, as the server sees it, where the mean of its clients' has ``h``."""
        error = _left(1 - self.eta * (self.gamma + h), self.team_rounds)
        return self.gamma * h / (self.gamma + h) * (1 - error)

    @property
    def curvature(self) -> tuple[float, float]:
        """Least and largest curvature that the server may see: mu_2 and L_2 for exact solves, less for others."""
        low, high = (self.nested(self.envelope(a)) for a in (self.losses.mu, self.losses.smoothness))
        return float(low), float(high)

    @property
    def hessian(self) -> np.ndarray:
        """P, ``[d, d]``."""
        return self._teams()[0].mean(0)

    @property
    def fixed_point(self) -> np.ndarray:
        """Where a round stays, ``[d]``: for exact solves the minimiser x* of phi."""
        p, towards = self._teams()
        return np.linalg.solve(p.mean(0), np.einsum("tij,tj->ti", p, towards).mean(0))

    def after(self, x: np.ndarray) -> np.ndarray:
        """The server's model after one round from ``x [d]``."""
        return x - self.beta * self.hessian @ (x - self.fixed_point)

    def _teams(self) -> tuple[np.ndarray, np.ndarray]:
        """Each team's envelope: Hessian ``[T, d, d]`` and minimiser ``[T, d]``."""
        clients = _of_symmetric(self.envelope, self.losses.hessians)
        pulls = np.einsum("cij,cj->ci", clients, self.losses.centres)
        members = [self.losses.team_of == t for t in range(self.losses.num_teams)]
        means = np.stack([clients[m].mean(0) for m in members])
        towards = np.stack([np.linalg.solve(h, pulls[m].mean(0)) for h, m in zip(means, members, strict=True)])
        return _of_symmetric(self.nested, means), towards

    def clients(self, w: np.ndarray) -> np.ndarray:
        """``theta*_c(w) [C, d]``, minimisers of ``f_c + client_lambda/2 ||. - w_c||^2`` for ``w [C, d]``."""
        pull = self.client_lambda * np.eye(w.shape[1])
        right = np.einsum("cij,cj->ci", self.losses.hessians, self.losses.centres) + self.client_lambda * w
        return np.linalg.solve(self.losses.hessians + pull, right[..., None])[..., 0]

    def teams(self, x: np.ndarray) -> np.ndarray:
        """``w*_t(x) [T, d]``, minimisers of ``F_t + gamma/2 ||. - x||^2``.

        ``F_t`` is the mean of the clients' envelopes times ``team_lambda / client_lambda``; its gradient is
        ``team_lambda (w - mean theta*(w))``, affine in w, so one linear system per team.
        """
        eye = np.eye(len(x))
        at_zero = self.clients(np.zeros_like(self.losses.centres))
        slope = self.client_lambda * np.linalg.inv(self.losses.hessians + self.client_lambda * eye)
        found = []
        for t in range(self.losses.num_teams):
            own = self.losses.team_of == t
            left = (self.team_lambda + self.gamma) * eye - self.team_lambda * slope[own].mean(0)
            found.append(np.linalg.solve(left, self.team_lambda * at_zero[own].mean(0) + self.gamma * x))
        return np.stack(found)

    def inner_error(self, x: np.ndarray) -> float:
        """Upper bound on the mean over teams of ``||w_t - w*_t(x)||`` after K team rounds from ``x``.

        The client's error contracts by ``delta = (1 - alpha (mu + client_lambda))^L``, the team's by
        ``r = 1 - eta (gamma + envelope(mu))`` a team round, and each team round adds at most
        ``eta team_lambda delta`` times the mean distance between ``w*_t`` and its ``theta*``. Needs
        ``alpha (smoothness + client_lambda) <= 1`` and ``eta (team_lambda + gamma) <= 1``.
        """
        w = self.teams(x)
        client_error = _left(1 - self.alpha * (self.losses.mu + self.client_lambda), self.steps)
        rate = self.gamma + float(self.envelope(self.losses.mu))
        team_error = _left(1 - self.eta * rate, self.team_rounds)
        gaps = np.linalg.norm(w[self.losses.team_of] - self.clients(w[self.losses.team_of]), axis=1)
        gap = np.array([gaps[self.losses.team_of == t].mean() for t in range(len(w))])
        start = np.linalg.norm(x - w, axis=1)
        return float(np.mean(team_error * start + (1 - team_error) * self.team_lambda * client_error / rate * gap))


def _left(factor: float | np.ndarray, times: float) -> float | np.ndarray:
    """What ``times`` multiplications by ``factor`` leave; of infinitely many, nothing."""
    return 0.0 if np.isinf(times) else factor**times


def _of_symmetric(function: Callable[[np.ndarray], np.ndarray | float], matrices: np.ndarray) -> np.ndarray:
    """The function of symmetric matrices ``[n, d, d]``, through their eigenvalues."""
    values, axes = np.linalg.eigh(matrices)
    return np.einsum("nij,nj,nkj->nik", axes, function(values), axes)
