"""The runs of a visit, two of them pinned and compared."""
