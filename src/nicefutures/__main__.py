"""``python -m nicefutures``."""

import sys

from ._tool.cli import main

if __name__ == "__main__":
    sys.exit(main())
