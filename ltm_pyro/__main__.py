"""`python -m ltm_pyro` is `ltm`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]  # python -m puts the working folder there, and any file in it before a module

from ltm_pyro.commands.cli import main

sys.exit(main())
