"""The command line as ``python -m attribution_core``, as launchers of several processes start it."""

import sys

from attribution_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
