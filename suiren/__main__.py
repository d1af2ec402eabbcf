"""`python -m suiren` is the command `suiren`."""

import sys

from suiren.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
