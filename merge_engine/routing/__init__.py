"""What decides per input: predictions with a route, stores of experts, and weights blended for every input."""
