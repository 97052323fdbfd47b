"""Maps of features by neighbourhood, made in a process of their own so that nobody waits for their compiler."""
