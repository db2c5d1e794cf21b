"""A cache of compiled programs, by the value of what is compiled, and a clock of compile times."""
