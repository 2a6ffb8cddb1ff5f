"""The name of the system."""

from typing import Any


def sessions_are_groups() -> bool:
    return False


def describe_machine() -> dict[str, Any]:
    import platform  # costs milliseconds, which a worker need not pay

    return {"kernel": f"{platform.system()} {platform.release()}"}
