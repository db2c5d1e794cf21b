"""Seeded command lines."""

KINDS = {}
