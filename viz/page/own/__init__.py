"""A picture of the visitor's own: drawn or uploaded, asked of every expert, merge and router."""
