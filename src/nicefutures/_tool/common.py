"""What the commands have in common."""

import sys
from typing import Final

USAGE_ERROR: Final = 2


def say(message: object) -> None:
    print(f"nicefutures: {message}", file=sys.stderr)
