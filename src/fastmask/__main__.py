"""``python -m fastmask``."""

from fastmask.cli import main

main()
