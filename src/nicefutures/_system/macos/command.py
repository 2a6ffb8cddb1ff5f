"""As on any POSIX system."""

from ..posix.command import become

__all__ = ["become"]
