"""Forward the log records and warnings of workers to the handlers and filters of their parent."""

import logging
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, NamedTuple


class Warned(NamedTuple):
    """A warning of a worker, as the arguments of :func:`warnings.warn_explicit`."""

    message: Warning | str
    category: type[Warning]
    filename: str
    lineno: int
    module: str | None


def relay(say: Callable[[object], None], level: int) -> None:
    """Send log records and warnings of this process to its parent, and not to inherited handlers."""
    from logging.handlers import QueueHandler  # only imported with `forward_logs`

    handler: Any = QueueHandler(None)  # type: ignore[arg-type]
    handler.enqueue = say  # by then the record has its text, and no object that cannot be pickled
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        try:
            say(Warned(message, category, filename, lineno, _module_of(filename)))
        except Exception:  # noqa: BLE001, the warning cannot be pickled
            say(Warned(str(message), UserWarning, filename, lineno, _module_of(filename)))

    warnings.showwarning = show


def _module_of(filename: str) -> str | None:
    """Return the name of a file's module, which warning filters use."""
    modules = [(name, each) for name, each in list(sys.modules.items()) if type(each) is ModuleType]
    return next((name for name, each in modules if vars(each).get("__file__") == filename), None)


# Number of warnings that are remembered: some have a different text at each call.
_MOST_REMEMBERED: Final = 1000


class Listener:
    """The parent's end: it shows each warning once, even if several workers send it."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str, int], None] = {}

    def take(self, said: "logging.LogRecord | Warned") -> None:
        """Handle a record as if it were logged here, or show a warning."""
        if isinstance(said, logging.LogRecord):
            logger = logging.getLogger(said.name)
            if logger.isEnabledFor(said.levelno):
                logger.handle(said)
            return
        key = str(said.message), said.filename, said.lineno
        if key not in self._shown:
            self._shown[key] = None
            if len(self._shown) > _MOST_REMEMBERED:
                self._shown.pop(next(iter(self._shown)), None)
            try:
                warnings.warn_explicit(said.message, said.category, said.filename, said.lineno, said.module)
            except Warning:  # the filters make it an error, but the task has continued
                warnings.showwarning(*said[:-1])
