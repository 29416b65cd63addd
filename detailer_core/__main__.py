"""The command line: `python -m detailer_core`."""

import io
import os
import sys

from .cli.main import main

# File names may hold letters that the terminal, or a pipe on Windows, cannot show; that is no reason to stop.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")

try:
    code = main()
    sys.stdout.flush()
except BrokenPipeError:  # the reader, such as `head`, has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 1
sys.exit(code)
