"""The subjects of the measurements: executors and pools, loads, and the condition that describes one case."""
