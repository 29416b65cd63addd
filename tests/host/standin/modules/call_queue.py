"""Plays `modules.call_queue`: the lock that whoever makes a picture holds."""

import threading


class FIFOLock:
    """A lock; the hosts' own also keeps those who wait in order."""

    def __init__(self):
        """A free lock."""
        self._lock = threading.Lock()

    def acquire(self, blocking=True):
        """Whether the lock was taken."""
        return self._lock.acquire(blocking)

    def release(self):
        """Frees the lock."""
        self._lock.release()

    def __enter__(self):
        """Takes the lock."""
        return self.acquire()

    def __exit__(self, kind, error, trace):
        """Frees the lock."""
        self.release()


queue_lock = FIFOLock()
