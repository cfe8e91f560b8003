"""``python -m layers``."""

import sys

from layers.command_line.cli import main

sys.exit(main())
