"""Calls that map makes in workers."""

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
    """Append to a file, to be seen by the test; return the number."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    time.sleep(0.02)
    return number


def note_and_hold(folder, number):
    """Append to a file, to be seen by the test; after the first one, wait for another file; return the number."""
    with open(folder / "done", "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    return hold_until(folder / "gate", number) if number else number


def slow_until_fourth(path, number):
    """Take some time; from the fourth call on, wait for a file; return the number."""
    time.sleep(0.1)
    return hold_until(path, number) if number > 3 else number


def sleep_longer_from_300(number):
    """Take a short time, and from 300 on a longer one; return the number."""
    time.sleep(0.0002 if number < 300 else 0.03)
    return number


def end_at_three(number):
    """Let the worker end at 3; return the number."""
    time.sleep(0.02)
    if number == 3:
        os._exit(1)
    return number


class Refuses:
    """Cannot be pickled, and what it raises cannot either."""

    def __reduce__(self):
        msg = "not this one"
        raise ValueError(msg, threading.Lock())


def add_one(path, number):
    """Append to a file; return the number."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    return number


def map_inside(share_min_size):
    """Use a pool in a task of another."""
    with LowPriorityProcessPoolExecutor(1, share_min_size=share_min_size) as executor:
        return [len(each) for each in executor.map(bytes, [2_000_000] * 3, chunksize="auto")]


made = []


def refuse_at(number, place, in_error):
    """At that place return something that cannot be pickled, or raise it."""
    made.append(number)
    if number == place:
        if in_error:
            raise RuntimeError(Refuses())
        return Refuses()
    return number


def count_made():
    """Return how many calls there were, and how many of them with the same number as another."""
    count, repeated = len(made), len(made) - len(set(made))
    made.clear()
    return count, repeated
