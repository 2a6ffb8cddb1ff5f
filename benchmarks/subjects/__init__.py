"""What is measured: the executors and pools, the loads, and the condition that names one case."""
