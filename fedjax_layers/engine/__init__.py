"""The engine that runs an algorithm: rounds in a jitted loop, cohorts, evaluation, and the placement of arrays.

It knows neither configs and their files (see ``experiment``) nor any algorithm by name.
"""
