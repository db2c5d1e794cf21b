"""Many runs of one program: grids, widths, runs that are the same for a while, stopping, tables."""
