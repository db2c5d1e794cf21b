"""From a config to the objects of a run: data, task, algorithm, cohorts, client axis.

Runs nothing but a timed probe.
"""
