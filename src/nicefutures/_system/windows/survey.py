"""What a Windows machine says of itself. Every process may lower itself there."""

import sys
from typing import TYPE_CHECKING, Any

from ..unknown.survey import sessions_are_groups

__all__ = ["describe_machine", "sessions_are_groups"]


if not TYPE_CHECKING or sys.platform == "win32":

    def describe_machine() -> dict[str, Any]:
        # The first three fields of the version are what the program's manifest claims to know.
        major, minor, build = sys.getwindowsversion().platform_version
        return {"windows": f"{major}.{minor}.{build}"}
