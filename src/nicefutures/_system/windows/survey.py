"""The version of Windows. Every process on Windows may lower its own priority."""

import sys
from typing import TYPE_CHECKING, Any

from ..unknown import sessions_are_groups

__all__ = ["describe_machine", "sessions_are_groups"]


if not TYPE_CHECKING or sys.platform == "win32":

    def describe_machine() -> dict[str, Any]:
        # The first three fields of the version depend on the program's manifest.
        major, minor, build = sys.getwindowsversion().platform_version
        return {"windows": f"{major}.{minor}.{build}"}
