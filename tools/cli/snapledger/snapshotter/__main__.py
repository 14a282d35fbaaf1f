"""`python -m snapledger.snapshotter`: the command."""

from snapledger.snapshotter.program import main

main()
