"""What another POSIX system, or macOS, says of itself. Every process may lower itself there."""

from typing import Any


def sessions_are_groups() -> bool:
    return False


def survey() -> dict[str, Any]:
    import platform  # costs milliseconds, which a worker need not pay

    macos, _, _ = platform.mac_ver()
    return {"macos": macos} if macos else {"kernel": f"{platform.system()} {platform.release()}"}
