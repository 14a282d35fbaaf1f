"""`snapledger-snapshotter`, or `python -m snapledger.snapshotter`: the command."""

from __future__ import annotations

import sys

_EXTRA = ("grpc", "google")


def main() -> None:
    """Run the command; without the extra, say what is missing."""
    try:
        from snapledger.snapshotter.program import main as run  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        sys.exit("snapledger-snapshotter: it needs gRPC: pip install 'snapledger[snapshotter]'")
    run()


if __name__ == "__main__":
    main()
