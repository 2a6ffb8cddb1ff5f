"""As on any POSIX system."""

from ..posix.command import become, is_program, lower_early

__all__ = ["become", "is_program", "lower_early"]
