"""From a config to a finished run directory, and statistics over runs.

Holds one run at a time; many runs of one program are ``sweeps``'.
"""
