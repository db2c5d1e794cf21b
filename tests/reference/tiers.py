"""NumPy: three tiers, one client at a time, from PerMFL's equations."""

from tests.reference.network import combine, local_run
from tests.reference.oracles import average


class TieredOracle:
    """K team rounds in each team, then the server; subclasses say what team and server do with a mean.

    A round is given as one cohort per team round: lists of ``(client, batches)``.
    """

    def __init__(self, start, team_of, num_teams, x, y, *, lr, beta, keep, pull=0.0):
        self.x, self.y = x, y
        self.sgd = {"lr": lr, "beta": beta, "mu": pull}
        self.keep = keep
        self.team_of = team_of
        self.server = start
        self.teams = [start] * num_teams
        self.own = [start] * len(team_of)
        self.velocity = [None] * len(team_of)

    def team_step(self, team, server, mean):
        """What a team does with the mean of its devices."""
        raise NotImplementedError

    def server_step(self, server, mean):
        """What the server does with the mean of its teams."""
        raise NotImplementedError

    def round(self, team_rounds):
        """One global round; returns each client's last loss list."""
        met = sorted({self.team_of[c] for cohort in team_rounds for c, _ in cohort})
        losses = {}
        for t in met:
            self.teams[t] = self.server
        for cohort in team_rounds:
            for t in met:
                trained = []
                for client, batches in cohort:
                    if self.team_of[client] != t:
                        continue
                    velocity = self.velocity[client] if self.keep else None
                    theta, velocity, loss, _ = local_run(
                        self.teams[t], batches, self.x, self.y, velocity=velocity, **self.sgd
                    )
                    if self.keep:
                        self.velocity[client] = velocity
                    self.own[client] = theta
                    losses.setdefault(client, []).append(loss)
                    trained.append(theta)
                if trained:
                    mean = average(trained, [1.0] * len(trained), None)
                    self.teams[t] = self.team_step(self.teams[t], self.server, mean)
        if met:
            mean = average([self.teams[t] for t in met], [1.0] * len(met), None)
            self.server = self.server_step(self.server, mean)
        return losses


class HSgd(TieredOracle):
    """Plain averages."""

    def team_step(self, team, server, mean):
        """The mean."""
        return mean

    def server_step(self, server, mean):
        """The mean."""
        return mean


class PerMFL(TieredOracle):
    """The paper's three updates; the client's pull is SGD's ``mu``."""

    def __init__(self, *args, client_lambda, team_lambda, gamma, eta, step, **kw):
        super().__init__(*args, pull=client_lambda, **kw)
        self.lam, self.gamma, self.eta, self.step = team_lambda, gamma, eta, step

    def team_step(self, team, server, mean):
        """``(1 - eta lam - eta gamma) w + eta gamma x + eta lam mean``."""
        lam, gamma, eta = self.lam, self.gamma, self.eta
        return combine(
            lambda w, x, m: (1 - eta * lam - eta * gamma) * w + eta * gamma * x + eta * lam * m, team, server, mean
        )

    def server_step(self, server, mean):
        """``(1 - beta gamma) x + beta gamma mean``."""
        pull = self.step * self.gamma
        return combine(lambda x, w: (1 - pull) * x + pull * w, server, mean)
