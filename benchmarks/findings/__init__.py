"""What a run says, in tables and sentences: a module for each suite, and what the suites have in common."""
