"""Plays `modules.call_queue`: the lock that every job holds."""

from threading import Lock

queue_lock = Lock()
