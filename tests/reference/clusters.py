"""NumPy: L2GD with clusters, and DemLearn, one client at a time, from their equations."""

import numpy as np

from tests.reference.network import combine
from tests.reference.oracles import Oracle, average
from tests.reference.two_tier import TwoTier


def towards(model, goals):
    """``model + sum_i share_i * (goal_i - model)`` for ``goals = [(share_i, goal_i), ...]``."""
    moved = model
    for share, goal in goals:
        moved = combine(lambda y, x, g, c=share: y + c * (g - x), moved, model, goal)
    return moved


class L2gd(Oracle):
    """A round is given its coins; of absent clients nothing enters."""

    def __init__(self, *args, team_of, pull, cluster_pull, step, p, q=0.0, tau=1.0, **kw):
        super().__init__(*args, **kw)
        self.shared = [False] * len(self.server)
        self.team_of, self.pull, self.cluster_pull = team_of, pull, cluster_pull
        self.step, self.p, self.q, self.tau = step, p, q, tau
        self.sgd["lr"] /= (1 - p) * (1 - q)
        self.teams = [self.server] * len(cluster_pull)

    def round(self, cohort, network, clusters):
        """Who trains, trains; the others move towards the means of all who are present."""
        results, ids = [], [client for client, *_ in cohort]
        before = dict(enumerate(self.own))
        for client, weight, batches in cohort:
            if network or clusters[self.team_of[client]]:
                results.append((client, weight, self.own[client], 0.0))
            else:
                model, loss, _ = self.local(client, batches)
                results.append((client, weight, model, loss))
        for client, _, model, _ in results:
            self.own[client] = model
        members = {j: [c for c in ids if self.team_of[c] == j] for j in {self.team_of[c] for c in ids}}
        mass = {j: sum(self.pull[c] for c in members[j]) for j in members}
        a = {j: self.cluster_pull[j] / (self.cluster_pull[j] + mass[j]) for j in members}
        means = {j: average([before[c] for c in members[j]], [self.pull[c] for c in members[j]], None) for j in members}
        if network and ids:
            weights = [a[j] * mass[j] for j in members]
            self.server = average([means[j] for j in members], weights, None)
        for j, inside in members.items():
            if network or clusters[j]:
                self.teams[j] = combine(lambda m, n, s=a[j]: s * n + (1 - s) * m, means[j], self.server)
            for c in inside:
                size = self.step * self.pull[c]
                if network:
                    goals = [(size * a[j] / self.p, self.server), (size * self.tau * (1 - a[j]) / self.p, means[j])]
                    self.own[c] = towards(before[c], goals)
                elif clusters[j]:
                    share = size * (1 - self.tau) * (1 - a[j]) / ((1 - self.p) * self.q)
                    self.own[c] = towards(before[c], [(share, means[j])])
        return results


def flat(model):
    """All weights of a network as one vector."""
    return np.concatenate([x.ravel() for layer in model for x in layer.values()])


def grow(vectors):
    """The binary tree of average linkage, from its definition: nested pairs of positions."""
    nodes = [([i], i) for i in range(len(vectors))]  # members, tree
    while len(nodes) > 1:
        gaps = {
            (a, b): np.mean([np.linalg.norm(vectors[i] - vectors[j]) for i in nodes[a][0] for j in nodes[b][0]])
            for a in range(len(nodes))
            for b in range(a)
        }
        a, b = min(gaps, key=gaps.get)
        joined = (nodes[a][0] + nodes[b][0], (nodes[b][1], nodes[a][1]))
        nodes = [n for i, n in enumerate(nodes) if i not in (a, b)] + [joined]
    return nodes[0][1]


def leaves(tree):
    """The positions in a tree."""
    return leaves(tree[0]) + leaves(tree[1]) if isinstance(tree, tuple) else [tree]


class Group:
    """A node of the hierarchy; at the last level all leaves below it are its children."""

    def __init__(self, tree, levels):
        halves = tree if isinstance(tree, tuple) else (tree,)
        if levels == 0:
            halves = leaves(tree)
        self.children = [Group(h, levels - 1) if isinstance(h, tuple) else h for h in halves]

    def rise(self, models, weights, factor):
        """Bottom-up: mean of the children by weight, times the factor; returns it and the weight below."""
        below = [
            c.rise(models, weights, factor) if isinstance(c, Group) else (models[c], weights[c]) for c in self.children
        ]
        total = sum(w for _, w in below)
        self.model = combine(lambda x: factor * x, average([m for m, _ in below], [w for _, w in below], None))
        return self.model, total

    def fall(self, models, share, found):
        """Top-down: children take their share of this group's model; ``found`` gets (client's model, parent)."""
        for c in self.children:
            if isinstance(c, Group):
                c.model = towards(c.model, [(share, self.model)])
                c.fall(models, share, found)
            else:
                found[c] = towards(models[c], [(share, self.model)]), self.model


class DemLearn(TwoTier):
    """Levels under a root, by the authors' recursion."""

    def __init__(self, *args, levels, pull, parent_share, factor=1.0, rounds=5, by_examples=False, **kw):
        super().__init__(*args, **kw)
        self.levels, self.pull, self.parent_share = levels, pull, parent_share
        self.factor, self.rounds, self.by_examples = factor, rounds, by_examples
        self.parents = [self.server] * len(self.own)
        self.done = 0

    def local(self, client, batches):
        """SGD with a pull to the parent, wherever the client begins."""

        def gradient(model, rows):
            loss, grads = self.slope(model, rows)
            return loss, combine(lambda g, x, p: g + self.pull * (x - p), grads, model, self.parents[client])

        return *self.fit(client, self.own[client], batches, gradient, self.velocity), None

    def aggregate(self, results):
        """Cluster, rise, fall."""
        if not results:
            return
        models = [model for _, _, model, *_ in results]
        weights = [weight if self.by_examples else 1.0 for _, weight, *_ in results]
        root = Group(grow([flat(m) for m in models]), self.levels)
        self.server, _ = root.rise(models, weights, self.factor if self.done < self.rounds else 1.0)
        found = {}
        root.fall(models, self.parent_share, found)
        for place, (client, *_) in enumerate(results):
            self.own[client], self.parents[client] = found[place]
        self.done += 1
