"""The main module in workers: whether they can have it, and how they import it.

A worker finds what a function refers to by importing modules. The main module of a program can be imported, if that
would not run the program anew: it would where it uses an executor outside of ``if __name__ == "__main__":``.

multiprocessing imports it before any code of ours. Here a worker says first that it is alive, and an error of the
import is one that the parent can name.
"""

import ast
import contextlib
import linecache
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import process, spawn
from types import FrameType, ModuleType
from typing import Any, Final

from .._forks import keep_through_forks
from .naming import MAIN

# Start methods whose processes import the main module. Not "loky", which joblib's loky has beside the last one.
_IMPORT_MAIN: Final = ("spawn", "forkserver", "loky_init_main")
# Those that are multiprocessing's own, and ask `spawn.get_preparation_data` what to import.
_STDLIB: Final = ("spawn", "forkserver")


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


def check_importable(function: Any) -> None:
    """Raise for a function of a module that is just being imported.

    A worker that imports it would run the same submit again; and so would the worker's workers.

    Raises
    ------
    RuntimeError
        If it is.
    """
    name = getattr(function, "__module__", None)
    module = sys.modules.get(name) if type(name) is str else None
    # Private, and there from Python 3.11 to 3.15; without it, there is no such error.
    if name != MAIN and getattr(getattr(module, "__spec__", None), "_initializing", False):
        msg = (
            f"cannot submit {getattr(function, '__qualname__', function)} while its module {name!r} is being imported: "
            "each worker would import the module and submit the task again. Submit it in a function that is called "
            "after the import"
        )
        raise RuntimeError(msg)


class _Patch:
    """`spawn.get_preparation_data` without the main module, in threads that start workers.

    multiprocessing has no argument for that. It is replaced while there is such a thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # nothing else is called with it
        keep_through_forks(self._lock)
        self._threads: list[int] = []
        self._original: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._threads.append(threading.get_ident())
            if self._original is None:
                self._original, spawn.get_preparation_data = spawn.get_preparation_data, self._prepare

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads.remove(threading.get_ident())
            if not self._threads and spawn.get_preparation_data == self._prepare:
                spawn.get_preparation_data, self._original = self._original, None

    def _prepare(self, name: str) -> dict[str, Any]:
        data: dict[str, Any] = (self._original or spawn.get_preparation_data)(name)
        return _without_main(data) if threading.get_ident() in self._threads else data


_patch: Final = _Patch()


def _main_of(data: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in data.items() if key.startswith("init_main_from_")}


def _without_main(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if not key.startswith("init_main_from_")}


def describe_main(method: str, *, is_known: bool) -> dict[str, str] | None:
    """Return what `import_main` needs in a worker, nothing perhaps; None if that is multiprocessing's business.

    Raises
    ------
    RuntimeError
        If this process is being started itself, and imports the main module just now.
    """
    if method not in _STDLIB:
        return None
    return _main_of(spawn.get_preparation_data("")) if is_known else {}


@contextlib.contextmanager
def starting_without_main(method: str, main: dict[str, str] | None) -> Iterator[None]:
    """Start a process that does not import the main module by itself."""
    if main is None:
        yield
        return
    if main and method == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()  # with the main module, which it imports once for all its children
    with _patch:
        yield


def import_main(main: dict[str, str] | None) -> None:
    """Import the main module in a worker, if it has not been yet."""
    if not main:
        return
    here: Any = process.current_process()
    # As multiprocessing does it: a main module that starts processes when it is imported gets an error.
    here._inheriting = True  # noqa: SLF001
    try:
        spawn.prepare(main)
    finally:
        del here._inheriting  # noqa: SLF001
