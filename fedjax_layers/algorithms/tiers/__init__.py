"""Models in tiers: device, team, global, and trees of clusters."""
