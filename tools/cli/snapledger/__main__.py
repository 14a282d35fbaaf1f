"""`python -m snapledger` is `snapledger`."""

import sys

from snapledger.program import main

sys.exit(main())
