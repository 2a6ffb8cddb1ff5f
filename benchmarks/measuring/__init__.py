"""Running the cells of a suite on this machine, and finding out which of them it can measure."""
