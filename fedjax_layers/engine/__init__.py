"""Runs an algorithm: rounds in a jitted loop, cohorts, evaluation, and where the arrays lie.

Knows neither configs and files (those are ``experiment``'s) nor any algorithm by name.
"""
