"""`python -m peerdiscover`: the command line, for when the installed command is not on PATH."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
