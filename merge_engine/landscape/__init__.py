"""Loss and accuracy between models: the plane through three, the line between two, and weight disentanglement."""
