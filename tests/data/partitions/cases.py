"""Labels, clients and options that suit a scheme, drawn at random, for tests that run over all of them."""

import numpy as np
from hypothesis import strategies as st

from fedjax_layers.data.partitions import PARTITIONS

BALANCED = np.repeat(np.arange(10), 600)
NATURAL = np.arange(6000) // 150  # natural clients of BALANCED, 40 of them
NOT_DRAWN = {"natural"}  # nothing is random
LEAVE_SOME_OUT = {
    "classes_per_team",
    "natural",
    "natural_grouped",
    "natural_teams",
    "permfl",
    "pfedla_1",
    "pfedla_2",
}

_alphas = st.floats(1e-3, 1e3)


def _classes(draw, num_classes, clients):
    """Classes per client that reach every class, dealt or in a window."""
    return draw(st.integers(max(1, num_classes - clients + 1), num_classes))


def _halves(draw, num_classes, clients, labels):
    """Two teams that share the middle labels."""
    present = np.unique(labels).tolist()
    overlap = draw(st.integers(0, num_classes // 2))
    middle = num_classes // 2
    lists = (present[: middle + overlap], present[middle:]) if clients > 1 and num_classes > 1 else (present,)
    smallest = min(map(len, lists))
    least = max(len(one) - clients // len(lists) + 1 for one in lists)  # windows that reach all of a team's
    return (tuple(map(tuple, lists)), draw(st.integers(max(1, least), smallest))) if least <= smallest else None


def options(draw, name, labels, clients, least):  # noqa: C901, PLR0911, PLR0912  (one line for each scheme)
    """Options of one scheme that these labels and clients allow; a min_size only where it is always reached."""
    num_classes = len(np.unique(labels))
    match name:
        case "dirichlet" | "quantity_dirichlet" | "playerfl":
            return {"alpha": draw(_alphas), "min_size": least}
        case "dirichlet_balanced":
            return {"alpha": draw(_alphas)}
        case "dirichlet_lognormal":
            return {"alpha": draw(_alphas), "sigma": draw(st.floats(0, 5)), "min_size": least}
        case "quantity_lognormal":
            return {"sigma": draw(st.floats(0, 5)), "min_size": least}
        case "quantity_zipf":
            return {"exponent": draw(st.floats(0, 5)), "min_size": least}
        case "two_level":
            teams = draw(st.integers(1, clients))
            alphas = {"team_alpha": draw(_alphas), "client_alpha": draw(_alphas)}
            return {"teams": teams, **alphas, "min_size": least}
        case "classes_per_client":
            assignment = draw(st.sampled_from(["random", "sliding"]))
            return {"classes": _classes(draw, num_classes, clients), "assignment": assignment, "min_size": 1}
        case "classes_per_team":
            teams = _halves(draw, num_classes, clients, labels) or ((tuple(np.unique(labels).tolist()),), num_classes)
            return {"team_classes": teams[0], "classes": teams[1], "min_size": 1}
        case "shards":
            return {"shards_per_client": draw(st.integers(1, len(labels) // clients))}
        case "natural":
            return {"clients": np.arange(len(labels)) % (clients + 1) - 1 if clients > 1 else np.zeros_like(labels)}
        case "natural_grouped":
            several = draw(st.integers(clients, 50))
            return {"clients": np.arange(len(labels)) % (several + 1) - 1}
        case "natural_teams":
            teams = draw(st.integers(1, clients))
            natural = np.arange(len(labels)) % (teams + 1) - 1  # as large as can be, up to one
            smallest = np.bincount(natural[natural >= 0]).min() // -(-clients // teams)
            return {"clients": natural, "client_alpha": draw(_alphas), "min_size": min(least, int(smallest))}
        case "permfl":
            low = draw(st.integers(0, 40))
            seeds = (draw(st.integers(0, 99)), draw(st.integers(0, 99)))
            sizes = {"chunk": draw(st.integers(1, 10)), "extra": (low, low + draw(st.integers(0, 40)))}
            classes = draw(st.integers(1, num_classes))
            return {"classes": classes, **sizes, "lognormal": draw(st.booleans()), "draw_seeds": seeds}
        case "pfedla_1":
            return {"classes": draw(st.integers(1, num_classes)), "use_all": draw(st.booleans())}
        case "pfedla_2":
            share = draw(st.floats(0.2, 0.8))
            return {"dominant": draw(st.integers(1, num_classes - 1)), "share": share, "use_all": draw(st.booleans())}
        case _:
            return {}


@st.composite
def cases(draw, name):
    """``(labels, clients, seed, options)``; labels of 2 to 6 classes, in any order, numbered with gaps."""
    counts = draw(st.lists(st.integers(200, 300), min_size=2, max_size=6))
    values = draw(st.permutations(range(-20, 20)))[: len(counts)]
    labels = np.repeat(values, counts)
    labels = labels[np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))]
    clients = draw(st.integers(1, 8))
    labels.flags.writeable = False
    least = draw(st.integers(0, len(labels) // clients))
    return labels, clients, draw(st.integers(0, 2**31)), options(draw, name, labels, clients, least)


def usual(name):
    """Options with which a scheme runs on BALANCED."""
    if name == "natural_teams":
        return {"clients": NATURAL // 10}
    return {"clients": NATURAL} if name.startswith("natural") else {}


assert set(PARTITIONS) >= NOT_DRAWN | LEAVE_SOME_OUT
