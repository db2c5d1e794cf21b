"""Algorithms with models in tiers: client, team and global models, and trees of clusters."""
