"""What runs the cells of a suite on this machine, and what of them can be measured here."""
