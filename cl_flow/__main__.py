"""Door of the command line: `python -m cl_flow` is `cl-flow`."""

import sys

from analysis.cli import main

if __name__ == "__main__":
    sys.exit(main())
