"""`python -m gptoss_flow` is the command `gptoss-flow`."""

import sys

from gptoss_flow.cli.main import main

sys.exit(main())
