"""The user interfaces of the program with the executor. Each runs a heartbeat in its main thread.

``python -m benchmarks.watching.windows NAME`` prints the reason if a user interface does not work here.
"""

import asyncio
import contextlib
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from ..system import LINUX
from .heartbeat import Schedule, beat_in_a_loop

Look: TypeAlias = Callable[[], int] | None
Paint: TypeAlias = Callable[[], object] | None
# Takes the seconds, a function to call after each beat, and the program's Python code for each frame.
RunWindow: TypeAlias = Callable[[float, Look, Paint], Schedule]

_WIDTH: Final = 320
_HEIGHT: Final = 200
_STRIPES: Final = 40
_FRAME_BYTES: Final = 1_048_576


@contextlib.contextmanager
def open_thread() -> Iterator[RunWindow]:
    """Open a loop that sleeps: the plain heartbeat."""

    def run(seconds: float, look: Look, paint: Paint) -> Schedule:
        schedule = Schedule(seconds, look=look, paint=paint)
        beat_in_a_loop(schedule)
        return schedule

    yield run


@contextlib.contextmanager
def open_memory() -> Iterator[RunWindow]:
    """Open a loop that sleeps, and takes memory from the system for each frame."""

    def draw() -> None:
        with mmap.mmap(-1, _FRAME_BYTES) as block:
            for page in range(0, _FRAME_BYTES, mmap.PAGESIZE):
                block[page] = 1

    def run(seconds: float, look: Look, paint: Paint) -> Schedule:
        schedule = Schedule(seconds, draw, look, paint=paint)
        beat_in_a_loop(schedule)
        return schedule

    yield run


@contextlib.contextmanager
def open_asyncio() -> Iterator[RunWindow]:
    """Open an event loop with a timer."""

    async def beat(seconds: float, look: Look, paint: Paint) -> Schedule:
        schedule = Schedule(seconds, look=look, paint=paint)
        while not schedule.is_over:
            await asyncio.sleep(schedule.wait_ns() / 1e9)
            schedule.show()
        return schedule

    yield lambda seconds, look, paint: asyncio.run(beat(seconds, look, paint))


@contextlib.contextmanager
def open_tk() -> Iterator[RunWindow]:
    """Open a Tk window that redraws its canvas from a timer."""
    import tkinter as tk

    root = tk.Tk()
    canvas = tk.Canvas(root, width=_WIDTH, height=_HEIGHT)
    canvas.pack()
    stripes = [canvas.create_rectangle(0, 5 * k, 0, 5 * k + 4, fill="black") for k in range(_STRIPES)]
    root.update()
    shown = 0

    def draw() -> None:
        nonlocal shown
        shown += 1
        for k, stripe in enumerate(stripes):
            canvas.coords(stripe, 0, 5 * k, (7 * shown + 11 * k) % _WIDTH, 5 * k + 4)
        root.update_idletasks()

    def run(seconds: float, look: Look, paint: Paint) -> Schedule:
        schedule = Schedule(seconds, draw, look, paint=paint)

        def beat() -> None:
            schedule.show()
            if schedule.is_over:
                root.quit()
            else:
                root.after(schedule.wait_ms(), beat)

        root.after(schedule.wait_ms(), beat)
        root.mainloop()
        return schedule

    try:
        yield run
    finally:
        root.destroy()


@contextlib.contextmanager
def open_qt() -> Iterator[RunWindow]:
    """Open a Qt window (PySide6) that repaints itself from a precise timer."""
    if LINUX and not (os.environ.get("WAYLAND_DISPLAY") or has_screen()):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtGui import QPainter, QPaintEvent
    from PySide6.QtWidgets import QApplication, QWidget

    class Window(QWidget):
        shown = 0

        def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802, Qt's name
            painter = QPainter(self)
            for k in range(_STRIPES):
                painter.fillRect(0, 5 * k, (7 * self.shown + 11 * k) % _WIDTH, 4, Qt.GlobalColor.black)
            painter.end()
            self.shown += 1

    application = QApplication([])
    window = Window()
    window.resize(_WIDTH, _HEIGHT)
    window.show()
    application.processEvents()

    def run(seconds: float, look: Look, paint: Paint) -> Schedule:
        schedule = Schedule(seconds, window.repaint, look, paint=paint)
        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setSingleShot(True)

        def beat() -> None:
            schedule.show()
            if schedule.is_over:
                application.quit()
            else:
                timer.start(schedule.wait_ms())

        timer.timeout.connect(beat)
        timer.start(schedule.wait_ms())
        application.exec()
        return schedule

    try:
        yield run
    finally:
        window.close()


# The user interfaces that the ui suite compares, and one that needs locks which all threads of a process share.
COMPARED_UIS: Final = {"thread": open_thread, "asyncio": open_asyncio, "tk": open_tk, "qt": open_qt}
UIS: Final = {**COMPARED_UIS, "memory": open_memory}


def has_screen() -> bool:
    """Return whether there is a screen other than our own virtual one."""
    return bool(os.environ.get("DISPLAY")) and not os.environ.get("NICEFUTURES_VIRTUAL_SCREEN")


def main(name: str) -> None:
    """Open and close a window; print why if that fails."""
    try:
        with UIS[name]():
            pass
    except Exception as error:  # noqa: BLE001, the report shows any error
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
