"""The observers of a measurement: heartbeats, windows, and processes that run next to it."""
