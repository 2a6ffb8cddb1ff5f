"""What a Windows machine says of itself. Every process may lower itself there."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


def sessions_are_groups() -> bool:
    return False


if not TYPE_CHECKING or sys.platform == "win32":

    def survey() -> dict[str, Any]:
        # The first three fields of the version are what the program's manifest claims to know.
        major, minor, build = sys.getwindowsversion().platform_version
        return {"windows": f"{major}.{minor}.{build}"}

else:
    survey: Callable[[], dict[str, Any]]
