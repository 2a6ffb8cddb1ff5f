"""Functions that find the shared memory and the descriptors that are left."""

import functools
import gc
import multiprocessing
import warnings

import numpy as np
import psutil

from asking import LINUX, WINDOWS
from handing_over import same, shared
from marks import METHODS
from nicefutures import LowPriorityProcessPoolExecutor
from patience import wait_until

MB = 2**20


def wait_until_collected(condition):
    """Wait until a condition holds, with a run of the garbage collector before each check."""
    wait_until(lambda: gc.collect() >= 0 and condition())


def ours():
    """Return how often this process and its children have shared memory open or mapped."""
    this = psutil.Process()
    return sum(shared_of(process.pid) for process in [this, *this.children(recursive=True)])


def descriptors():
    """Return how many files, or handles, this process has open."""
    gc.collect()
    return psutil.Process().num_handles() if WINDOWS else psutil.Process().num_fds()


@functools.cache
def start_servers():
    """Use every start method once, because multiprocessing keeps some resources after that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the fork is intended
        for method in METHODS:
            with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
                executor.submit(same, np.zeros(MB)).result()


def shared_of(pid):
    try:
        return shared(pid) if LINUX else 0
    # PermissionError: the files of a zombie whose parent is gone belong to root, until its status is read.
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
