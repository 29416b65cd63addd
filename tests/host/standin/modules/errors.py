"""Plays `modules.errors`: errors are logged, kept in `world.reports`, and swallowed."""

import logging
import sys
import traceback

from modules._standin import _world

_log = logging.getLogger("standin.host")


def report(message: str, *, exc_info: bool = False) -> None:
    """Logs the message, with the exception that is being handled if `exc_info`."""
    error = sys.exc_info()[1] if exc_info else None
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)) if error else ""
    _world.note_report(message, error, trace)
    _log.error("%s\n%s", message, trace)


def display(e: Exception, task, *, full_traceback=False) -> None:
    """Logs that a task failed."""
    _world.note_report(f"{task or 'error'}: {type(e).__name__}", e, "")
    _log.error("%s: %s", task, e)


def run(code, task) -> None:
    """Runs `code()`; an error is displayed."""
    try:
        code()
    except Exception as error:
        display(error, task)
