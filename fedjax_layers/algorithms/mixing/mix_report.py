"""The report of an algorithm that mixes models layer by layer: its mixing weights over the rounds."""

from __future__ import annotations

from fedjax_layers.algorithms.report import LayerRecord, Report

MIX_REPORT = Report(
    layers=(
        LayerRecord("self_weight", "own weight", "The mixing weight of a client's own model, mean over clients"),
        LayerRecord(
            "from_uniform",
            "unequal weights",
            "The distance of the mixing weights from equal ones, 0 to 1",
        ),
    )
)
