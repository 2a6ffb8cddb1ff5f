"""What a POSIX system says of itself. Every process may lower itself there."""

from ..unknown.survey import describe_machine, sessions_are_groups

__all__ = ["describe_machine", "sessions_are_groups"]
