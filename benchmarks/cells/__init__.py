"""A module for each kind of fresh process that measures one thing: it takes JSON and answers in JSON."""
