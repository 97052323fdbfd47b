"""From a cell of the maps to what collides there, knocked out and scored."""
