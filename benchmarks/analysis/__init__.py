"""The numbers of a run, without text: `rows` with percentiles, and confidence intervals by the `bootstrap`."""
