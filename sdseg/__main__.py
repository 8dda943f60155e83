"""`python -m sdseg`."""

import sys

from sdseg.cli.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
