"""Showing the results of a run: printed, as a page with figures, and compared with another run."""
