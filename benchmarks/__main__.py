"""``python -m benchmarks``."""

import importlib.util
import sys

_NEEDED = ("matplotlib", "nicefutures", "numpy", "psutil", "pyperf", "rich", "scipy", "threadpoolctl")


def main() -> int:
    """Run the command line, if the packages that it needs are installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f'no {", ".join(missing)}: install the extra: python -m pip install -e ".[bench]"', file=sys.stderr)
        return 1
    from .cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
