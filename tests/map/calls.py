"""Functions that `map` calls in workers."""

import os
import threading
import time

from nicefutures import LowPriorityProcessPoolExecutor
from tasks import hold_until


def same(value):
    return value


def invert(number):
    """Raise for 0."""
    return 1 / number


def note(path, number):
    """Append the number to a file that the test reads; return the number."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    time.sleep(0.02)
    return number


def note_and_hold(folder, number):
    """Append the number to a file that the test reads; after 0, wait for another file; return the number."""
    with open(folder / "done", "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    return hold_until(folder / "gate", number) if number else number


def slow_until_fourth(path, number):
    """Take some time; above 3, wait for a file; return the number."""
    time.sleep(0.1)
    return hold_until(path, number) if number > 3 else number


def sleep_longer_from_300(number):
    """Take a short time, and from 300 on a longer one; return the number."""
    time.sleep(0.0002 if number < 300 else 0.03)
    return number


def end_at_three(number):
    """End the worker at 3; return the number."""
    time.sleep(0.02)
    if number == 3:
        os._exit(1)
    return number


class Refuses:
    """An object that cannot be pickled, like the exception that it raises."""

    def __reduce__(self):
        msg = "not this one"
        raise ValueError(msg, threading.Lock())


def add_one(path, number):
    """Append the number to a file; return the number."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    return number


def map_inside(share_min_size):
    """Use another pool in a task."""
    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        return [len(each) for each in executor.map(bytes, [2_000_000] * 3, chunksize="auto")]


made = []


def refuse_at(number, place, in_error):
    """At `place`, return an object that cannot be pickled, or raise an exception with it."""
    made.append(number)
    if number == place:
        if in_error:
            raise RuntimeError(Refuses())
        return Refuses()
    return number


def count_made():
    """Return the number of calls, and how many of them repeated a number."""
    count, repeated = len(made), len(made) - len(set(made))
    made.clear()
    return count, repeated
