"""PLayer-FL's two training protocols (appendix text and first code, OLD; pipeline of January 2025 on, NEW)."""

from __future__ import annotations

from typing import Any

# Adam and AdamW are both the AMSGrad variant and keep their state from round to round; one local epoch per round; every
# client takes part; scored after local training at each client's best round by validation loss.
COMMON: dict[str, Any] = {"epochs": 1, "keep_optimizer": True, "scored_model": "trained", "scored_round": "best"}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "old": COMMON | {"optimizer": "adamw_amsgrad", "weight_decay": 0.01, "learning_rate_decay": 0.9, "patience": 10},
    "new": COMMON | {"optimizer": "amsgrad", "weight_decay": 1e-4},
}
