"""The command ``fastmask``, and ``python -m fastmask``."""

import sys

from fastmask.extras import the_extra

__all__ = ["main"]


def main() -> None:
    """The entry point, which needs nothing but Python until it knows that the command line is installed."""
    try:
        from fastmask.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        print(f"error: {error}. The command line needs {the_extra('cli')}", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
