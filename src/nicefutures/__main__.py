"""The command line: ``nicefutures``, and ``python -m nicefutures``."""

import signal
import sys


def main() -> int:
    """Run the command line; return the exit status."""
    # Ctrl-C ends this process as it ends a program that does not handle it. The doctor must end its workers first.
    if sys.argv[1:2] != ["doctor"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ._tool.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
