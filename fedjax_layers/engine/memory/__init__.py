"""The memory of a run: its forecast, what is free, and the peak. For data kept on the host see ``on_host``."""
