"""Models in tiers: client, team, global, and trees of clusters."""
