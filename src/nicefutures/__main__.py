"""The command line: ``nicefutures``, and ``python -m nicefutures``."""

import sys


def main() -> int:
    """Run the command line; return the exit status."""
    if sys.argv[1:2] != ["doctor"]:  # which has workers to end
        from ._signals import die_of_interrupts

        die_of_interrupts()
    if sys.argv[1:2] == ["run"]:  # the others import much that it does without
        from ._tool.run import run

        return run(sys.argv[2:])
    from ._tool.cli import main as others

    return others()


if __name__ == "__main__":
    sys.exit(main())
