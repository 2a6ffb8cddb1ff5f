"""How many threads BLAS and OpenMP libraries use.

A library that is loaded is set through threadpoolctl, one that will be loaded later through the environment. BLAS
libraries have one number for the process, OpenMP has one for each thread that calls it (threadpoolctl's README).
"""

import functools
import importlib.machinery
import itertools
import os
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ._forks import keep_through_forks

if TYPE_CHECKING:
    from threadpoolctl import LibController

# OpenMP 5.2, 21.1.2; OpenBLAS, "Runtime variables"; oneMKL, "Using Additional Threading Control"; BLIS,
# "Multithreading"; Apple, "vecLib" (Accelerate reads it when it is loaded, and threadpoolctl does not know it); Polars,
# "Multiprocessing" (it reads it when it is imported); Numba, "Environment variables".
_OPENMP: Final = "OMP_NUM_THREADS"
VARIABLES: Final = (
    _OPENMP,
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
)


class ThreadCap(NamedTuple):
    """How many threads a library may use.

    Parameters
    ----------
    threads : int
        The number.
    exact : bool
        Whether a library that uses fewer gets more.
    """

    threads: int
    exact: bool

    def of(self, now: int) -> int:
        """Return what a library gets that uses `now` threads."""
        return self.threads if self.exact else min(self.threads, now)


def cap_process(cap: ThreadCap | None) -> int | None:
    """Cap this process for good: the libraries that are loaded, and those that will be.

    Parameters
    ----------
    cap : ThreadCap or None
        None leaves all as it is.

    Returns
    -------
    int or None
        How many threads the BLAS libraries use now; None if there is none that threadpoolctl knows.
    """
    if cap is not None:
        openmp = os.environ.get(_OPENMP)
        numba = sys.modules.get("numba")
        if numba is not None:  # it refuses another number in the environment once it has threads
            numba.set_num_threads(cap.of(numba.get_num_threads()))
        for variable in VARIABLES if numba is None else VARIABLES[:-1]:
            os.environ[variable] = str(cap.of(_number(os.environ.get(variable, openmp), cap.threads)))
    libraries = find_libraries()
    for library in libraries:
        if cap is not None and cap.of(library.num_threads) != library.num_threads:
            set_threads(library, cap.of(library.num_threads))
    return _count(libraries)


def count_threads() -> int | None:
    """Return how many threads the BLAS libraries of this process use; None if there is none that is known."""
    return _count(find_libraries())


# Threads that look at once queue for the locks of the dictionaries that they look into, where there is no GIL, and a
# child that is forked meanwhile would have these locks for ever.
_looking: Final = threading.RLock()
keep_through_forks(_looking)


def find_libraries() -> "list[LibController]":
    """Return the BLAS and OpenMP libraries of this process that threadpoolctl knows."""
    with _looking:
        if not _may_have_libraries():
            return []
        from threadpoolctl import ThreadpoolController  # a slow import, which a worker without any library does not pay

        try:
            libraries: list[LibController] = ThreadpoolController().lib_controllers
        except OSError:  # the system does not list them, or one cannot be opened: then none is known
            return []
        return libraries


def set_threads(library: "LibController", threads: int) -> None:
    """Set how many threads a library uses, from whatever thread.

    threadpoolctl lets one thread at a time set OpenBLAS, and others do nothing, without a word, from 3.7 on; it goes
    to the next that sets it.
    """
    let_go = getattr(library, "clear_controlling_thread", None)
    if let_go is not None:
        let_go(force=True)
    library.set_num_threads(threads)
    if let_go is not None:
        let_go(force=True)


# So large a product is done by all threads of a library, and in its buffers.
_SIDE: Final = 256
_ROW_MAJOR, _AS_IT_IS = 101, 111  # CBLAS_LAYOUT, CBLAS_TRANSPOSE: cblas.h


def make_buffers(seen: set[str]) -> None:
    """Have each OpenBLAS make its threads and its buffers, which it does not survive to be refused later.

    Parameters
    ----------
    seen : set of str
        The files of those that have them, which grows.
    """
    import ctypes  # noqa: F401, now, and not in the middle of an import of somebody's

    import threadpoolctl  # noqa: F401

    new = [each for each in find_libraries() if each.internal_api == "openblas" and each.filepath not in seen]
    for library in new:
        seen.add(library.filepath)
        _multiply(library)


def _multiply(library: "LibController") -> None:
    """Make a matrix product, whatever the function for that is called in this build."""
    import ctypes

    for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64", "64")):
        dgemm = getattr(library.dynlib, f"{prefix}cblas_dgemm{suffix}", None)
        if dgemm is None:
            continue
        integer = ctypes.c_int64 if suffix else ctypes.c_int
        matrix = (ctypes.c_void_p, integer)
        dgemm.argtypes = (
            *[ctypes.c_int] * 3,
            *[integer] * 3,
            ctypes.c_double,
            *matrix,
            *matrix,
            ctypes.c_double,
            *matrix,
        )
        dgemm.restype = None
        square = (ctypes.c_double * (_SIDE * _SIDE))()
        of_square = (square, _SIDE)
        sides = (_SIDE, _SIDE, _SIDE)
        dgemm(_ROW_MAJOR, _AS_IT_IS, _AS_IT_IS, *sides, 1.0, *of_square, *of_square, 0.0, *of_square)
        return


def names_blas(libraries: set[str]) -> bool:
    """Return whether there is a BLAS library among the file names."""
    from threadpoolctl import LibController

    prefixes = tuple(
        prefix
        for kind in LibController.__subclasses__()
        if kind.user_api == "blas"
        for prefix in kind.filename_prefixes
    )
    return any(name.lower().startswith(prefixes) for name in libraries)


def _may_have_libraries() -> bool:
    """Return whether anything has been imported that can have brought a library: an extension module of somebody's."""
    return any(
        isinstance(_loader_of(module), importlib.machinery.ExtensionFileLoader)
        and name.partition(".")[0] not in sys.stdlib_module_names
        for name, module in list(sys.modules.items())
    )


def _loader_of(module: object) -> object:
    """Return a module's loader, and wake up none of those that load when they are looked at."""
    if not issubclass(type(module), types.ModuleType):
        return None
    return object.__getattribute__(module, "__dict__").get("__loader__")


def _count(libraries: "list[LibController]") -> int | None:
    return max((library.num_threads for library in libraries if library.user_api == "blas"), default=None)


def _number(text: str | None, default: int) -> int:
    try:
        number = int(text or "")
    except ValueError:  # a list for nested levels, say
        return default
    return number if number > 0 else default


class SharedCap:
    """A cap on all of this process, for as long as anybody holds it. What the user sets meanwhile is left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[ThreadCap] = []
        self._given_up: deque[ThreadCap] = deque()
        # By library file: what it had, and what it was set to.
        self._changed: dict[str, tuple[int, int]] = {}

    def hold(self, cap: ThreadCap, *, openmp: bool) -> Callable[[], None]:
        """Put a cap in force; of several the lowest counts.

        Parameters
        ----------
        cap : ThreadCap
            The cap.
        openmp : bool
            Whether the calling thread is one that shall have it for its OpenMP libraries, too.

        Returns
        -------
        callable
            Gives it up; what it changed is put back with the last one.
        """
        with self._lock:
            self._held.append(cap)
            self._apply(openmp=openmp)
        self._settle()
        return functools.partial(self._release, [cap])

    def _release(self, held: list[ThreadCap]) -> None:
        """Give a cap up, the first time. The garbage collector may call this, from within any of these methods."""
        if held:
            self._given_up.append(held.pop())
            self._settle()

    def _settle(self) -> None:
        """Take away what was given up; if the lock is taken, whoever has it does that."""
        while self._given_up and self._lock.acquire(blocking=False):
            try:
                while self._given_up:
                    self._held.remove(self._given_up.popleft())
                self._apply(openmp=False)
            finally:
                self._lock.release()

    def _apply(self, *, openmp: bool) -> None:
        lowest = min(self._held, default=None)
        for library in find_libraries():
            if library.user_api == "openmp":
                if openmp and lowest is not None:
                    set_threads(library, lowest.of(library.num_threads))
                continue
            now = library.num_threads
            before, ours = self._changed.get(library.filepath, (now, now))
            if now == ours:
                wanted = before if lowest is None else lowest.of(before)
                if wanted != now:
                    set_threads(library, wanted)
                    self._changed[library.filepath] = before, library.num_threads
        if lowest is None:
            self._changed.clear()


shared_cap: Final = SharedCap()
