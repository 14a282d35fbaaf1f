"""`snapledger`, also as `python -m snapledger`.

An interrupt that comes while the program is loaded ends it as any other does.
"""

import contextlib
import gc
import sys

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""What a verb makes is rows, which it keeps and which refer to nothing that refers to them: to look
at them all again and again took 40 % of `tree` and 25 % of `ls --sort` of 100,000 snapshots."""


def run() -> int:
    """Run the program with the arguments of this process and return its exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        from snapledger.program import main  # noqa: PLC0415 - an interrupt may come into it

        return main()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("snapledger: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
