"""What another process cannot find by its name.

Functions and classes are pickled by their names, and a worker imports the modules of these. Not all are to be had: that
of a notebook, of a session, or of what Python reads from elsewhere than a file. The main module of a program could be
imported, if that would not run the program anew: it would where it uses an executor outside of ``if __name__ ==
"__main__":``.
"""

import ast
import contextlib
import linecache
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import spawn
from types import FrameType, ModuleType
from typing import Any, Final

from .._forks import keep_through_forks

MAIN: Final = "__main__"
# Start methods whose processes import the main module. Not "loky", which joblib's loky has beside the last one.
_IMPORT_MAIN: Final = ("spawn", "forkserver", "loky_init_main")


class _Here(threading.local):
    """Of a thread that pickles for other processes.

    Attributes
    ----------
    is_main_known : bool
        Whether these have the main module as this process has it.
    sent : list, or None in a worker's thread
        What it has pickled by value: functions, classes, and what goes to each worker once.
    is_task_coming : bool
        Whether it is a worker's that unpickles what its parent has sent.
    of_task : set of str, or None
        In a worker's thread: the tokens of what has come with its task, if there are any.
    """

    is_main_known: bool = True

    def __init__(self) -> None:
        self.sent: list[Any] | None = []
        self.is_task_coming = False
        self.of_task: set[str] | None = None


here: Final = _Here()


@contextlib.contextmanager
def pickling(*, is_main_known: bool) -> Iterator[None]:
    """Let this thread pickle for workers, for a while; the argument is as in `here`."""
    before = here.is_main_known, here.sent
    here.is_main_known, here.sent = is_main_known, []
    try:
        yield
    finally:
        here.is_main_known, here.sent = before


_patch: Final = threading.RLock()
keep_through_forks(_patch)
_MAIN_ONLY: Final = (MAIN.encode(),)


def by_value() -> tuple[bytes, ...]:
    """Return the names of the modules whose functions and classes the calling thread does not pickle by name."""
    names = () if here.is_main_known else _MAIN_ONLY
    cloudpickle: Any = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return names
    registered: set[str] = getattr(cloudpickle, "list_registry_pickle_by_value", set)()
    return (*names, *(name.encode() for name in registered)) if registered else names


def can_import_main(method: str) -> bool:
    """Return whether the workers of a start method can have the main module as this process has it."""
    main = sys.modules.get(MAIN)
    if getattr(sys, "frozen", False):  # multiprocessing.freeze_support
        return True
    name = getattr(getattr(main, "__spec__", None), "name", None)
    # The file is "<stdin>" where there is none.
    if main is None or (name is None and not os.path.exists(getattr(main, "__file__", None) or "")) or _is_session():
        return False
    if method == "fork":
        return True
    if method not in _IMPORT_MAIN:
        return False
    # As multiprocessing.spawn has it (_fixup_main_from_name).
    return name != MAIN and not str(name).endswith(f".{MAIN}") and not _runs_without_guard(main)


def _is_session() -> bool:
    """Return whether somebody types what the main module has."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or (shell is not None and shell() is not None)


def _runs_without_guard(main: ModuleType) -> bool:
    """Return whether the statement of the main module that runs just now would run in a process that imports it."""
    frame = _frame_of(main, sys._getframe())  # noqa: SLF001, the documented name
    if frame is None:
        # No name for all frames: this one is among them, and would keep itself, and so the executor.
        frame = _frame_of(main, sys._current_frames().get(threading.main_thread().ident or 0))  # noqa: SLF001
    if frame is None:
        return False
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    so_far = [each for each in statements if each.lineno <= frame.f_lineno]
    return bool(so_far) and not any(map(_asks_for_name, so_far))


def _frame_of(main: ModuleType, frame: FrameType | None) -> FrameType | None:
    while frame is not None and not (frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"):
        frame = frame.f_back
    return frame


def _asks_for_name(statement: ast.stmt) -> bool:
    """Return whether a statement compares the module's name with something."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    compared = (node for node in ast.walk(statement) if isinstance(node, ast.Compare))
    names = (node.id for each in compared for node in ast.walk(each) if isinstance(node, ast.Name))
    return "__name__" in names


@contextlib.contextmanager
def main_left_out() -> Iterator[None]:
    """Start processes that do not import the main module.

    multiprocessing has no argument for that: it asks `get_preparation_data` what to import.
    """
    this = threading.get_ident()
    with _patch:
        original = spawn.get_preparation_data

        def get_preparation_data(name: str) -> dict[str, Any]:
            data = original(name)
            if threading.get_ident() == this:
                data.pop("init_main_from_name", None)
                data.pop("init_main_from_path", None)
            return data

        spawn.get_preparation_data = get_preparation_data
        try:
            yield
        finally:
            spawn.get_preparation_data = original
