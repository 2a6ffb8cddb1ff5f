"""Ends suspended processes when this process ends, by a job object whose only handle this process has.

A worker notices its parent's end and ends itself, which it cannot do while it is suspended.
"""

import contextlib
from typing import Final

from . import seam

SUSPENDS_COUNT: Final = True


class Guard:
    """Ends processes when this process ends before `close`."""

    end = None

    def __init__(self) -> None:
        self._job = seam.system.create_job()
        seam.system.set_job_limit(self._job, None, ends=True)

    def add(self, pid: int) -> None:
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            seam.system.assign_to_job(self._job, pid)

    def remove(self, pid: int) -> None:
        """Do nothing: a process cannot leave a job."""

    def close(self) -> None:
        seam.system.set_job_limit(self._job, None)
        seam.system.close_job(self._job)
