"""Each client's model is made of everybody's: mixed by weights, or written by a hypernetwork."""
