"""POSIX ranks all programs together."""

from ..unknown.groups import find, join, open_keeper

__all__ = ["find", "join", "open_keeper"]
