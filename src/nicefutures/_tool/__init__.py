"""The command line ``nicefutures``: `cli` parses it, and the `doctor` judges the measurements of `measure`."""
