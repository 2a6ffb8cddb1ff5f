"""A system of which nothing is known but that Python runs there: what the others take where they have nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import accounting, background, command, groups, memory, priority, sharing, survey, threads

__all__ = ["accounting", "background", "command", "groups", "memory", "priority", "sharing", "survey", "threads"]
