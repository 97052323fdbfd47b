"""Loss over the plane through three models, the line between two, weight disentanglement."""
