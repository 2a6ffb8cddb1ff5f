"""What conditions are called in tables and sentences."""

import dataclasses

from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import title_of


def background_of(condition: Condition) -> str:
    """Return what works in the background."""
    return condition.executor if condition.executor == NOTHING else title_of(condition.executor, condition.priority)


def where_of(condition: Condition) -> str:
    """Return what is varied, in a few words, but for executor, load and user interface."""
    plain = dataclasses.replace(condition, executor=NOTHING, priority=None, load=None, ui=None)
    return plain.name.removeprefix(f"{NOTHING}, ").removeprefix(NOTHING)
