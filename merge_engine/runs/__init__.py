"""From a recipe to a number and a table: running, choosing settings, keeping results."""
