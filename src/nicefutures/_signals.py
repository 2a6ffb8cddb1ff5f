"""Signals that get their default action, for who cannot wait for `signal`, which makes enums of their numbers."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _load() -> "Any":
    """Return what `signal` wraps; `signal` takes half as long as all of Python's start."""
    try:
        import _signal  # type: ignore[import-not-found]
    except ImportError:
        import signal as _signal
    return _signal


def reset(*names: str) -> None:
    """Give signals their default action, whatever they have; those that this system lacks are left out."""
    signals = _load()
    for name in names:
        if hasattr(signals, name):
            signals.signal(getattr(signals, name), signals.SIG_DFL)


def die_of_interrupts() -> None:
    """Let Ctrl-C end this process as it ends a program that does nothing about it, unless it is ignored."""
    signals = _load()
    if signals.getsignal(signals.SIGINT) is signals.default_int_handler:
        signals.signal(signals.SIGINT, signals.SIG_DFL)
