"""Seeded damage to what a run has written."""

KINDS = {}
