"""`python -m gptoss_flow` is the command `gptoss-flow`."""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", str(Path.cwd())):
    # Python puts the working folder first, the command does not: what lies there is never imported by its name.
    del sys.path[0]

from gptoss_flow.cli.main import main

sys.exit(main())
