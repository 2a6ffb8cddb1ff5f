"""What a worker logs and warns of, where the parent's handlers and filters are."""

import logging
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple


class Warned(NamedTuple):
    """A warning that was to be shown; the arguments of :func:`warnings.showwarning`."""

    message: Warning | str
    category: type[Warning]
    filename: str
    lineno: int


def relay(say: Callable[[object], None], level: int) -> None:
    """Send what this process logs and warns of to its parent, instead of what was inherited."""
    from logging.handlers import QueueHandler  # for who asks for it

    handler: Any = QueueHandler(None)  # type: ignore[arg-type]
    handler.enqueue = say  # the text is made by then, and nothing is left that cannot be pickled
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,  # noqa: ARG001, as of warnings.showwarning
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        try:
            say(Warned(message, category, filename, lineno))
        except Exception:  # noqa: BLE001, it cannot be pickled
            say(Warned(str(message), UserWarning, filename, lineno))

    warnings.showwarning = show


# So many warnings are remembered: some have a text of their own for each call.
_MOST_REMEMBERED: Final = 1000


class Listener:
    """The parent's end: each warning is shown once, whoever of the workers it comes from."""

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
            warnings.showwarning(*said)
