"""`python -m tools.cli` is `snapledger`."""

import sys

from tools.cli.program import main

sys.exit(main())
