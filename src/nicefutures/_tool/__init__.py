"""The command line ``nicefutures``: `cli` runs, sets and shows, the `doctor` judges what `measure` has measured."""
