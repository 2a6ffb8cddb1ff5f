"""How a person gets to see what a run says: printed, as a page with figures, and beside another run."""
