"""What learns from unlabelled inputs before it serves: entropy minimisation, its parameters, and the watch on it."""
