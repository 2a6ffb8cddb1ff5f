"""The command line ``nicefutures``: what it runs, sets, shows and measures."""
