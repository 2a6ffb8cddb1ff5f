"""Threads are left alone: none is known, and a thread may set its own level only."""

from collections.abc import Iterable
from typing import Any

from ..._levels import Shortfall, ThreadPriority


def of_libraries() -> list[int]:
    return []


def get_levels(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {}


def save_levels(tids: Iterable[int]) -> dict[int, Any]:
    return {}


def set_levels(tids: Iterable[int], priority: ThreadPriority) -> None:
    return None


def restore_levels(saved: dict[int, Any]) -> Shortfall | None:
    return None
