"""The objects of a run, made from its config: data, task, algorithm, cohorts, client axis.

Nothing is run here except the timing of the client axis.
"""
