"""The results of a run in tables and sentences: a module for each suite, and modules that suites share."""
