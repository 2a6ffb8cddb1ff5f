"""Nothing more to set: POSIX has no priority of I/O or memory, and knows one kind of core."""

from ..unknown.background import set_background, set_efficiency

__all__ = ["set_background", "set_efficiency"]
