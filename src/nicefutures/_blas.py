"""Sets how many threads BLAS and OpenMP libraries use.

Loaded libraries are set through threadpoolctl, libraries that will be loaded later through the environment. A BLAS
library has one number for the process, OpenMP has one for each thread that calls it (threadpoolctl's README).
"""

import contextlib
import functools
import glob
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
# "Multiprocessing" (it reads it when it is imported); OpenCV, "Environment variables reference" (when it first needs
# it); Numba, "Environment variables".
_OPENMP: Final = "OMP_NUM_THREADS"
VARIABLES: Final = (
    _OPENMP,
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "NUMBA_NUM_THREADS",
)


class ThreadCap(NamedTuple):
    """How many threads a library may use."""

    threads: int
    exact: bool  # a library that uses fewer threads gets this number as well

    def of(self, now: int) -> int:
        """Return the new number of threads for a library that uses `now` threads."""
        return self.threads if self.exact else min(self.threads, now)


def cap_process(cap: ThreadCap | None) -> int | None:
    """Limit this process permanently: loaded libraries, and those that will be loaded. A cap of None changes nothing.

    Return how many threads the BLAS libraries use now; None if threadpoolctl finds none.
    """
    if cap is not None:
        openmp = os.environ.get(_OPENMP)
        numba = sys.modules.get("numba")
        if numba is not None:  # once it has threads, it refuses another number in the environment
            numba.set_num_threads(cap.of(numba.get_num_threads()))
        for variable in VARIABLES if numba is None else VARIABLES[:-1]:
            os.environ[variable] = str(cap.of(_number(os.environ.get(variable, openmp), cap.threads)))
    libraries = find_libraries()
    for library in libraries:
        if cap is not None and cap.of(library.num_threads) != library.num_threads:
            set_threads(library, cap.of(library.num_threads))
    return _count(libraries)


def count_threads() -> int | None:
    """Return how many threads the BLAS libraries of this process use; None if threadpoolctl finds none."""
    return _count(find_libraries())


# Without a GIL, threads that search at the same time queue for the locks of the same dictionaries, and a child that is
# forked meanwhile would wait for these locks forever.
_looking: Final = threading.RLock()
keep_through_forks(_looking)


def find_libraries() -> "list[LibController]":
    """Return the BLAS and OpenMP libraries of this process that threadpoolctl knows."""
    with _looking:
        if not _may_have_libraries():
            return []
        from threadpoolctl import ThreadpoolController  # a slow import, which a worker without libraries avoids

        try:
            libraries: list[LibController] = ThreadpoolController().lib_controllers
        except OSError:  # the system does not list them, or one cannot be opened: then none is known
            return []
        return libraries


_SOFT: Final = 1  # omp_pause_soft: omp.h


def pause_openmp() -> None:
    """End the threads of GNU's OpenMP for the calling thread, because a forked process would wait for them forever.

    They start again when they are needed. The function exists from GCC 9 on (OpenMP 5.0, 3.2.44).
    """
    for library in find_libraries():
        pause = getattr(library.dynlib, "omp_pause_resource_all", None) if library.prefix == "libgomp" else None
        if pause is not None:
            pause(_SOFT)


def find_fork_hazard() -> str | None:
    """Describe the failure of a forked worker that uses a library whose threads run here; None if there is no risk."""
    remedy = 'Pass mp_context="forkserver" or "spawn".'
    names = set()
    for path in glob.glob("/proc/self/task/*/comm") if "polars" in sys.modules else ():
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:  # the thread may have ended
            names.add(file.read())
    if any(name.startswith("polars-") for name in names):
        return f"Polars has threads in this process. A forked worker that uses Polars waits for them forever. {remedy}"
    with contextlib.suppress(ValueError, AttributeError):  # Numba has no threads, or is being imported
        if "numba" in sys.modules and sys.modules["numba"].threading_layer() == "omp":
            return f"Numba uses OpenMP in this process. It ends a forked worker that uses it as well. {remedy}"
    return None


def set_threads(library: "LibController", threads: int) -> None:
    """Set how many threads a library uses, from any thread.

    From 3.7 on, threadpoolctl lets only one thread at a time set OpenBLAS, and ignores calls of others without an
    error. So this function ends the earlier thread's control before the call, and its own after it.
    """
    let_go = getattr(library, "clear_controlling_thread", None)
    if let_go is not None:
        let_go(force=True)
    library.set_num_threads(threads)
    if let_go is not None:
        let_go(force=True)


# A product of this size uses all threads of a library, and its buffers.
_SIDE: Final = 256
_ROW_MAJOR, _AS_IT_IS = 101, 111  # CBLAS_LAYOUT, CBLAS_TRANSPOSE: cblas.h


def make_buffers(seen: set[str]) -> None:
    """Let each OpenBLAS make its threads and its buffers, because it does not survive a failure to make them later.

    `seen` has the files of the libraries that have them; new ones are added.
    """
    import ctypes  # noqa: F401, now, and not during another import

    import threadpoolctl  # noqa: F401

    new = [each for each in find_libraries() if each.internal_api == "openblas" and each.filepath not in seen]
    for library in new:
        seen.add(library.filepath)
        _multiply(library)


def _multiply(library: "LibController") -> None:
    """Compute a matrix product, with any name that the function has in a build."""
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
    """Return whether one of the file names is that of a BLAS library."""
    from threadpoolctl import LibController

    prefixes = tuple(
        prefix
        for kind in LibController.__subclasses__()
        if kind.user_api == "blas"
        for prefix in kind.filename_prefixes
    )
    return any(name.lower().startswith(prefixes) for name in libraries)


def _may_have_libraries() -> bool:
    """Return whether an extension module that is not the stdlib's has been imported: it may have loaded a library."""
    return any(
        isinstance(_loader_of(module), importlib.machinery.ExtensionFileLoader)
        and name.partition(".")[0] not in sys.stdlib_module_names
        for name, module in list(sys.modules.items())
    )


def _loader_of(module: object) -> object:
    """Return a module's loader, and do not trigger modules that load at the first access to an attribute."""
    if not issubclass(type(module), types.ModuleType):
        return None
    return object.__getattribute__(module, "__dict__").get("__loader__")


def _count(libraries: "list[LibController]") -> int | None:
    return max((library.num_threads for library in libraries if library.user_api == "blas"), default=None)


def _number(text: str | None, default: int) -> int:
    try:
        number = int(text or "")
    except ValueError:  # for example a list for nested levels
        return default
    return number if number > 0 else default


class SharedCap:
    """A cap on the whole process while an executor or a worker holds it. Numbers set by the user meanwhile stay."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[ThreadCap] = []
        self._given_up: deque[ThreadCap] = deque()
        # By library file: its number before, and the number that we have set.
        self._changed: dict[str, tuple[int, int]] = {}

    def hold(self, cap: ThreadCap, *, openmp: bool) -> Callable[[], None]:
        """Apply a cap, with `openmp` also to the OpenMP libraries of the calling thread; the lowest of several counts.

        Return a function that releases the cap; after the last release, the numbers are restored.
        """
        with self._lock:
            self._held.append(cap)
            self._apply(openmp=openmp)
        self._settle()
        return functools.partial(self._release, [cap])

    def _release(self, held: list[ThreadCap]) -> None:
        """Release a cap, the first time. The garbage collector may call this, from within any of these methods."""
        if held:
            self._given_up.append(held.pop())
            self._settle()

    def _settle(self) -> None:
        """Remove released caps; if the lock is taken, its holder does it."""
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
