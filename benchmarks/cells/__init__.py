"""A module for each kind of measurement: it runs in a fresh process, takes JSON and answers in JSON."""
