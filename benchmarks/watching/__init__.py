"""Who watches while something is measured: heartbeats, windows, and the processes beside it."""
