"""The time since the last input (keyboard or mouse) to this process's desktop.

Some facts:

* An X server knows this time, except Xwayland, which sees only input to its own windows.
* Mutter (GNOME, on X11 and Wayland) tells it on the session bus, in ms (``org.gnome.Mutter.IdleMonitor.xml``).
* KDE tells it as ``org.freedesktop.ScreenSaver.GetSessionIdleTime``, in ms, from KIdleTime. On Wayland that is
  always 0 (``KWinIdleTimePoller::forcePollRequest``).
* KWin, wlroots (Sway and others), Hyprland and COSMIC tell when input ends and begins: ``ext_idle_notifier_v1``.
"""

from collections.abc import Callable
from typing import Final

from ..._originals import os
from ..common import CannotTellError
from .bus import Bus
from .link import Connect
from .wayland import Notifier
from .x11 import Display

Source = Callable[[Connect], Callable[[], float]]


def open_clock(sources: dict[str, Source], connect: Connect) -> Callable[[], float]:
    """Return the idle clock of the first source that works."""
    reasons = []
    remedy = "Start the program in the desktop's session, or pass a function of your own."
    for name, source in sources.items():
        try:
            clock = source(connect)
            clock()
        except ImportError as error:
            reasons.append(f"{name}: {error}")
            remedy = 'Install jeepney: pip install "nicefutures[pause]". Without a desktop, pass your own function.'
        except Exception as error:  # noqa: BLE001, a server may answer anything
            reasons.append(f"{name}: {error}")
        else:
            return clock
    reason = f"none of these tells when the keyboard was last used: {'; '.join(reasons)}"
    raise CannotTellError(reason, remedy)


def _open_x11(connect: Connect) -> Callable[[], float]:
    display = Display(connect)
    is_wayland = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("XDG_SESSION_TYPE") == "wayland"
    if is_wayland or display.find_extension(b"XWAYLAND"):  # Xwayland has it from version 23.1 on
        msg = "the server is Xwayland, which sees only its own windows"
        raise OSError(msg)
    return display.idle_seconds


def _open_gnome(connect: Connect) -> Callable[[], float]:
    bus, name = Bus(connect, "SESSION"), "org.gnome.Mutter.IdleMonitor"
    return lambda: bus.call(name, "/org/gnome/Mutter/IdleMonitor/Core", name, "GetIdletime") / 1000


def _open_kde(connect: Connect) -> Callable[[], float]:
    bus, name = Bus(connect, "SESSION"), "org.freedesktop.ScreenSaver"

    def idle_seconds() -> float:
        return float(bus.call(name, "/org/freedesktop/ScreenSaver", name, "GetSessionIdleTime")) / 1000

    if not idle_seconds():
        msg = f"{name} says 0, as always on Wayland"
        raise OSError(msg)
    return idle_seconds


def _open_wayland(connect: Connect) -> Callable[[], float]:
    return Notifier(connect).idle_seconds


SOURCES: Final[dict[str, Source]] = {
    "X11": _open_x11,
    "GNOME": _open_gnome,
    "KDE": _open_kde,
    "Wayland": _open_wayland,
}
