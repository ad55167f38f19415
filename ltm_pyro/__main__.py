"""`python -m ltm_pyro` is `ltm`."""

import sys

from ltm_pyro.commands.cli import main

sys.exit(main())
