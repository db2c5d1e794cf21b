"""The config of a run: its fields, their bounds, and the options of the parts that it names. Loads no data."""
