"""Running algorithms: cohorts, rounds, evaluation, records."""
