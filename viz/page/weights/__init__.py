"""The panels that look into the weights."""
