"""No task groups: the system ranks all programs together, and there is nothing to leave."""

from multiprocessing.context import BaseContext
from typing import Any, NoReturn

from ..._levels import Shortfall
from ..common import Group


def find() -> Group | Shortfall | None:
    return None


def join(group: Group, registry: Any) -> Shortfall | None:
    return None


def enter() -> Shortfall | None:
    return None


def open_keeper(context: BaseContext, group: Group) -> NoReturn:
    """There is no group to keep."""
    raise AssertionError(group)
