"""Files of several data sets: strict readers by format, and the log-mel features of recordings."""
