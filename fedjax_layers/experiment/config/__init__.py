"""The complete description of a run: its fields, their bounds, and the options of what it names. Loads no data."""
