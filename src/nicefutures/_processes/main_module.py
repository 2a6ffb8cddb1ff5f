"""The main module in workers: whether they can import it, and how.

A worker imports modules to find the objects that a function refers to. It can import the main module unless the import
would run the program again, as in a program that uses an executor outside of ``if __name__ == "__main__":``.

multiprocessing imports the main module before any code of ours. Here a worker first reports that it is alive, and the
parent can name an error of the import.
"""

import ast
import contextlib
import linecache
import math
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import process, spawn
from types import FrameType, ModuleType
from typing import Any, Final

from .._forks import keep_through_forks
from .naming import MAIN

# Start methods whose processes import the main module. joblib's loky also has "loky", whose processes do not.
_IMPORT_MAIN: Final = ("spawn", "forkserver", "loky_init_main")
_OF_WORKERS: Final = f"{__package__}.worker_main"
# multiprocessing's own ones among them, which get the modules to import from `spawn.get_preparation_data`.
_STDLIB: Final = ("spawn", "forkserver")


def can_import_main(method: str) -> bool:
    """Return whether the workers of a start method can have the same main module as this process."""
    main = sys.modules.setdefault(MAIN, ModuleType(MAIN))  # multiprocessing needs one, too
    if getattr(sys, "frozen", False):  # multiprocessing.freeze_support
        return True
    name = getattr(getattr(main, "__spec__", None), "name", None)
    # `__file__` may be "<stdin>", which is no file.
    if (name is None and not os.path.exists(getattr(main, "__file__", None) or "")) or _is_session():
        return False
    if method == "fork":
        return True
    if method not in _IMPORT_MAIN:
        return False
    # As in multiprocessing.spawn (_fixup_main_from_name).
    return name != MAIN and not str(name).endswith(f".{MAIN}") and not _runs_without_guard(main)


def _is_session() -> bool:
    """Return whether this is an interactive session."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or (shell is not None and shell() is not None)


def _runs_without_guard(main: ModuleType) -> bool:
    """Return whether an import of the main module would reach the statement that runs now: no guard comes before it."""
    frame = _frame_of(main, sys._getframe())  # noqa: SLF001, the documented name
    if frame is None:
        # The dict of frames gets no name: this frame is in it, and would keep itself alive, and so the executor.
        frame = _frame_of(main, sys._current_frames().get(threading.main_thread().ident or 0))  # noqa: SLF001
    # Without a frame the module does not run: a host calls one of its functions, or it has finished.
    path, line = (main.__file__ or "", math.inf) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    source = "".join(linecache.getlines(path, vars(main)))
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    so_far = [each for each in statements if each.lineno <= line]
    return bool(so_far) and not any(map(_asks_for_name, so_far))


def _frame_of(main: ModuleType, frame: FrameType | None) -> FrameType | None:
    while frame is not None and not (frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"):
        frame = frame.f_back
    return frame


def _asks_for_name(statement: ast.stmt) -> bool:
    """Return whether a statement compares ``__name__`` with a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    compared = (node for node in ast.walk(statement) if isinstance(node, ast.Compare))
    names = (node.id for each in compared for node in ast.walk(each) if isinstance(node, ast.Name))
    return "__name__" in names


def check_importable(function: Any) -> None:
    """Raise a RuntimeError for a function of a module that is still being imported.

    A worker that imports the module would submit the task again, and so would the workers of that worker.
    """
    name = getattr(function, "__module__", None)
    module = sys.modules.get(name) if type(name) is str else None
    # Private, from Python 3.11 to 3.15; elsewhere this error is not raised.
    if name != MAIN and getattr(getattr(module, "__spec__", None), "_initializing", False):
        msg = (
            f"cannot submit {getattr(function, '__qualname__', function)} while its module {name!r} is being imported: "
            "each worker would import the module and submit the task again. Submit it in a function that is called "
            "after the import"
        )
        raise RuntimeError(msg)


class _Patch:
    """Replaces `spawn.get_preparation_data` in threads that start workers: it then omits the main module.

    multiprocessing has no argument for this. The function is replaced while such a thread exists.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # no other code runs while it is held
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
        return data if threading.get_ident() not in self._threads else _part(data, of_main=False)


_patch: Final = _Patch()


def _part(data: dict[str, Any], *, of_main: bool) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key.startswith("init_main_from_") == of_main}


def describe_main(method: str, *, is_known: bool) -> dict[str, str] | None:
    """Return the argument of `import_main` for a worker, perhaps empty; None if workers do not need it.

    Raise a RuntimeError if this process is itself being started and is still importing the main module.
    """
    if method not in _STDLIB:
        return None
    try:
        os.getcwd()
    except FileNotFoundError as error:
        msg = f"the working directory was deleted, and {method!r} needs one: change it with os.chdir"
        raise FileNotFoundError(error.errno, msg) from None
    if not is_known:
        return {}
    # Workers import the main module under this name. A tool that runs a program (coverage, a profiler) leaves its own.
    sys.modules["__mp_main__"] = sys.modules[MAIN]
    return _part(spawn.get_preparation_data(""), of_main=True)


def _preload(forkserver: Any) -> None:
    """Let the fork server, if it does not run yet, import the modules that each of its workers needs."""
    # Private, from Python 3.11 to 3.15: the modules that the program has asked for. Only the setter is public.
    modules = getattr(getattr(forkserver, "_forkserver", None), "_preload_modules", None)
    if modules is not None and _OF_WORKERS not in modules:
        forkserver.set_forkserver_preload([*modules, _OF_WORKERS])


@contextlib.contextmanager
def starting_without_main(method: str, main: dict[str, str] | None) -> Iterator[None]:
    """Let a process that starts in this block not import the main module by itself."""
    if main is None:
        yield
        return
    if method == "forkserver":
        from multiprocessing import forkserver

        _preload(forkserver)
        if main:
            forkserver.ensure_running()  # it imports the main module, once for all its children
    with _patch:
        yield


def import_main(main: dict[str, str] | None) -> None:
    """Import the main module in a worker, unless it is already imported."""
    if not main:
        return
    here: Any = process.current_process()
    # As in multiprocessing: a main module that starts processes during its import gets an error.
    here._inheriting = True  # noqa: SLF001
    try:
        spawn.prepare(main)
    finally:
        del here._inheriting  # noqa: SLF001
