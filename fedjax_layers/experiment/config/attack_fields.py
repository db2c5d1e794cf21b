"""The fields of a config that say who attacks, and how."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from annotated_types import Ge, Le

from fedjax_layers.data.changes.corruption import CORRUPTIONS
from fedjax_layers.experiment.config.fields import ATTACK, BACKDOOR, POISON, SEARCHED, STRENGTH, option
from fedjax_layers.ops.collusion import COLLUSIONS, DIRECTIONS, SEARCHING
from fedjax_layers.ops.poison import POISONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackFields:
    """The attack of a run; without one the other fields have no effect."""

    attack: str | None = option(
        None, "attack", f"what attackers do: each to its data ({', '.join(CORRUPTIONS)}) or its update, or together, "
        f"knowing all updates ({', '.join(COLLUSIONS)})", unset="none", choices=(*CORRUPTIONS, *POISONS, *COLLUSIONS),
    )  # fmt: skip
    attack_fraction: Annotated[float, Ge(0), Le(1)] = option(
        0.2, "attack", "share of the clients that attack", needs=ATTACK
    )
    attack_strength: Annotated[float | None, Ge(0)] = option(
        None, "attack", "rate of corrupted tokens, labels or images, or factor on what attackers send", needs=STRENGTH,
        unset="1; 0.5 of a backdoor; 10 of scale; of alie by the numbers of clients",
    )  # fmt: skip
    attack_blocks: tuple[str, ...] | None = option(
        None, "attack", "blocks of the model that are poisoned", unset="all", needs=POISON
    )
    attack_target: Annotated[int, Ge(0)] = option(
        0, "attack", "class that attackers want predicted where their trigger is", needs=BACKDOOR
    )
    attack_boost: Annotated[float, Ge(0)] = option(
        1.0, "attack", "factor on the updates of attackers with a backdoor", needs=BACKDOOR
    )
    attack_direction: str = option(
        "unit", "attack", "against the mean of the benign updates, its signs, or their deviation (std)",
        choices=DIRECTIONS, needs=SEARCHED,
    )  # fmt: skip

    @property
    def strength(self) -> float | None:
        """The attack's strength: the given one, or its usual one; ``None`` for an attack that finds its own."""
        if self.attack in (None, *SEARCHING):
            return None
        if self.attack_strength is not None or self.attack == "alie":
            return self.attack_strength
        return {"backdoor": 0.5, "scale": 10.0}.get(str(self.attack), 1.0)
