"""Experiments: a single run from its config to its run directory, and statistics over runs.

Many runs of one program are in ``sweeps``.
"""
