"""Nothing more to set: POSIX has no priority of I/O or memory, and knows one kind of core."""

from ..unknown.background import end_with, set_background, set_efficiency, start_child

__all__ = ["end_with", "set_background", "set_efficiency", "start_child"]
