"""One file is one panel: a pure function from frozen numbers to a Plotly figure, and the same numbers as a table."""
