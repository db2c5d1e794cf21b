"""Many runs of one program: the request, rounds that runs have in common, stopping, the folder. Draws no picture."""
