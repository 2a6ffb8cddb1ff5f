"""A thread of macOS sets its own class only."""

from ..unknown.threads import get_levels, of_libraries, restore_levels, save_levels, set_levels

__all__ = ["get_levels", "of_libraries", "restore_levels", "save_levels", "set_levels"]
