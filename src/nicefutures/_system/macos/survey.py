"""What a Mac says of itself. Every process may lower itself there."""

from typing import Any

from ..posix.survey import describe_machine as describe_posix
from ..posix.survey import sessions_are_groups

__all__ = ["describe_machine", "sessions_are_groups"]


def describe_machine() -> dict[str, Any]:
    import platform  # costs milliseconds, which a worker need not pay

    version, _, _ = platform.mac_ver()
    return {"macos": version} if version else describe_posix()
