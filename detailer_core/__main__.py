"""The command line: `python -m detailer_core`."""

import sys

from .cli.main import main

sys.exit(main())
