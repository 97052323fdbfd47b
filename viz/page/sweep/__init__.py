"""Accuracy along one or two numbers of a recipe."""
