"""Tasks for interpreters, which cannot load psutil."""

import os
import threading

from nicefutures import get_thread_priority

_seen = []


def note_level():
    """Remember the level of this thread; as an initializer, the level at which the interpreter starts."""
    _seen.append(get_thread_priority().name)


def tell_levels():
    """Return the level at the start, and that of a thread that the task starts."""
    thread = threading.Thread(target=note_level)
    thread.start()
    thread.join()
    return _seen


def import_module(name):
    """Import a module, which may fail here."""
    return __import__(name).__name__


def interpreter(_=None):
    """Return the ids of the process and of the interpreter."""
    from concurrent import interpreters

    return os.getpid(), interpreters.get_current().id
