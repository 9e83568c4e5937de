"""`python -m lambdaslim`."""

import sys

from lambdaslim.cli import main

if __name__ == "__main__":
    sys.exit(main())
