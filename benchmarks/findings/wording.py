"""Names of conditions in tables and sentences."""

from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import title_of


def background_of(condition: Condition) -> str:
    """Return the name of the executor that works in the background."""
    return condition.executor if condition.executor == NOTHING else title_of(condition.executor, condition.priority)


def where_of(condition: Condition) -> str:
    """Return the varied parts in a few words, without executor, load and user interface."""
    plain = condition.but(executor=NOTHING, priority=None, load=None, ui=None)
    return plain.name.removeprefix(f"{NOTHING}, ").removeprefix(NOTHING)
