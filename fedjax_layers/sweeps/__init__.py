"""Many runs of one program: grids, shared histories, stopping, the folder of results. Draws no table or picture."""
