"""POSIX lets a program set no priority for a single thread that means anything beside nice."""

from ..unknown.threads import get_levels, of_libraries, restore_levels, save_levels, set_levels

__all__ = ["get_levels", "of_libraries", "restore_levels", "save_levels", "set_levels"]
