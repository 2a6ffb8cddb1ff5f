"""POSIX ranks all programs together."""

from ..unknown.groups import enter, find, join, open_keeper

__all__ = ["enter", "find", "join", "open_keeper"]
