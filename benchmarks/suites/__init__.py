"""Which cells each suite has, and why."""
