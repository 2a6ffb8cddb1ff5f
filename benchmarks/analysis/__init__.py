"""What the numbers of a run are: rows, quantiles, intervals; no words and no pictures."""
