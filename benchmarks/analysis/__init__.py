"""What the numbers of a run are: `rows` with their percentiles, and their intervals by the `bootstrap`; no words."""
