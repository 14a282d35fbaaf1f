"""`snapledger`, also as `python -m snapledger`.

An interrupt that comes while the program is loaded ends it as any other does.
"""

import contextlib
import sys


def run() -> int:
    """Run the program with the arguments of this process and return its exit code."""
    try:
        from snapledger.program import main  # noqa: PLC0415 - an interrupt may come into it

        return main()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("snapledger: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
