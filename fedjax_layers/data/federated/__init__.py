"""From one data set to the clients' data: who owns what, in which split, checked, packed, and kept as a file."""
