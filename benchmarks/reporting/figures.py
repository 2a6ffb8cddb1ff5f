"""Figures of a record: latency against percentile, a timeline of stalls, a heat map of GIL load and priority.

The colours are those of Okabe and Ito, which colour-blind people can distinguish. Lines carry their names.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..analysis.bootstrap import Samples
from ..analysis.rows import FRAME_MS, LIMITS_MS, Row, Rows
from ..subjects.condition import CALLBACKS, NOTHING, Condition
from ..subjects.executors import (
    AWARE_THREAD,
    BY_HAND,
    LOW_PROCESS,
    PRIORITY_INTERPRETER,
    PRIORITY_THREAD,
    STDLIB_INTERPRETER,
    STDLIB_PROCESS,
    STDLIB_THREAD,
    title_of,
)
from ..subjects.loads import PHASE_S, TITLES
from ..suites.designs import DESIGNS, DRAWING_LOADS, FREE_LOADS, GIL_LOADS, THREAD_LEVELS
from ..watching.heartbeat import PERIOD_NS
from ..watching.windows import COMPARED_UIS

_COLOURS: Final = ("#000000", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_NINES: Final = (0.0, 0.9, 0.99, 0.999)
_LEAST_MS: Final = 0.05
_DURATION: Final = "duration of a frame, ms"  # of a program that computes one after the other, without a schedule
# Any: matplotlib types each parameter by its name.
_STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    # The same record gives the same file.
    "svg.hashsalt": "nicefutures",
}


@dataclass(frozen=True)
class Panel:
    """A part of a figure: a title, its rows with their labels, and the meaning of their times."""

    title: str
    lines: Sequence[tuple[str, Row]]
    times: str = "delay of a frame, ms"


def draw_figures(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a record by name, without those that it has no data for."""
    if record["suite"] not in DESIGNS:
        return {}
    rows = Rows(record)
    panels = [panel for panel in _panels(rows) if panel.lines]
    figures: dict[str, Figure] = {}
    with mpl.rc_context(_STYLE):
        if panels:
            figures["percentiles"] = _draw_percentiles(panels)
            beats = [panel for panel in panels if panel.times == Panel.times][:2]
            if any(_stalled(late).any() for panel in beats for late in _first_rounds(panel)):
                figures["timeline"] = _draw_timeline(beats)
        if record["suite"] == "gil":
            figures |= _draw_heat_map(rows) | _draw_limits(rows) | _draw_drawing(rows)
    return figures


def save_figures(figures: Mapping[str, Figure], folder: Path, prefix: str) -> None:
    """Write each figure as SVG and PNG."""
    with mpl.rc_context(_STYLE):
        for name, figure in figures.items():
            for kind in ("svg", "png"):
                path = folder / f"{prefix}-{name}.{kind}"
                figure.savefig(path, dpi=130, metadata={"Date": None} if kind == "svg" else {"Software": None})


def to_svg(figure: Figure) -> str:
    """Return the SVG element."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _panels(rows: Rows) -> list[Panel]:
    name = rows.record["suite"]
    base = DESIGNS[name].base
    four = [(STDLIB_PROCESS, None), (LOW_PROCESS, "idle"), (STDLIB_THREAD, None), (AWARE_THREAD, "below_normal")]
    if name == "desktop":
        few = [(STDLIB_PROCESS, None), ("recipe-psutil", None), ("every-thread-nice", None), (LOW_PROCESS, "idle")]
        other = base.but(foreground="other-session")
        places = [("the same session", base), ("another session (autogroup)", other)]
        frames = [
            Panel(f"A program that computes, in {where}", _lines(rows, place, few), _DURATION)
            for where, place in places
        ]
        beats = [
            Panel(f"A window that sleeps, in {where}", [(label, row.in_view("foreground")) for label, row in lines])
            for where, place in places
            if (lines := _lines(rows, place, few))
        ]
        return [*frames, *beats]
    if name == "gil":
        levels = [(STDLIB_THREAD, None), *((PRIORITY_THREAD, level) for level in ("below_normal", "lowest", "idle"))]
        if rows.where(executor=PRIORITY_INTERPRETER) and not rows.where(executor=PRIORITY_THREAD):
            levels = [(STDLIB_THREAD, None), (STDLIB_INTERPRETER, None)]
            levels += [(PRIORITY_INTERPRETER, "below_normal"), (PRIORITY_INTERPRETER, "idle"), (LOW_PROCESS, "idle")]
        elif not rows.where(executor=PRIORITY_THREAD):
            levels = [(STDLIB_THREAD, None), (AWARE_THREAD, "below_normal")]
        busy = base.but(load="python", foreign=4)
        return [
            Panel("Pure Python", _lines(rows, base.but(load="python"), levels)),
            Panel("Matrix products", _lines(rows, base.but(load="matmul"), levels)),
            Panel("Pure Python beside 4 busy processes", _lines(rows, busy, levels)),
            Panel("Both in turn", _lines(rows, base.but(load="mixed"), levels)),
        ]
    loads = [load for load in TITLES if rows.where(load=load)]
    times = Panel.times if base.ui else _DURATION
    panels = [Panel(TITLES[load], _lines(rows, base.but(load=load), four), times) for load in loads]
    if name == "ui":
        for load in loads[:2]:
            place = base.but(load=load, executor=STDLIB_THREAD)
            by_ui = [(ui, rows.get(place.but(ui=ui))) for ui in COMPARED_UIS]
            title = f"{TITLES[load]}, ThreadPoolExecutor, by kind of window"
            panels.append(Panel(title, [(ui, row) for ui, row in by_ui if row is not None]))
    return panels


def _lines(rows: Rows, place: Condition, executors: Sequence[tuple[str, str | None]]) -> list[tuple[str, Row]]:
    alone = rows.get(place.without_background())
    found = [("nothing", alone)] if alone is not None else []
    for executor, priority in executors:
        row = rows.get(place.with_executor(executor, priority))
        if row is not None:
            found.append((title_of(executor, priority), row))
    return found if any(row.condition.executor != NOTHING for _, row in found) else []


def _nines(fractions: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions on an axis on which each further nine takes the same space."""
    return np.asarray(-np.log10(1 - np.asarray(fractions)))


def _draw_percentiles(panels: Sequence[Panel]) -> Figure:
    # One below the other: with two in the width of a page, the names would be too small, or the lines too short.
    figure = Figure(figsize=(7.6, 2.8 * len(panels)), layout="constrained")
    for place, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(len(panels), 1, place + 1), panel)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    most = max(len(row.pooled_ms) for _, row in panel.lines)
    last = 1 - 1 / max(most, 10)  # at least one nine
    ends = []
    for (label, row), colour in zip(panel.lines, _COLOURS, strict=False):
        fractions = np.concatenate([np.linspace(0, 0.9, 50), 1 - np.logspace(-1, np.log10(1 - last), 80)])
        late = np.maximum(np.quantile(row.pooled_ms, fractions), _LEAST_MS)
        axes.plot(_nines(fractions), late, color=colour, linewidth=1.6)
        ends.append((float(late[-1]), label, colour))
    axes.set_yscale("log")
    for limit in LIMITS_MS:
        axes.axhline(limit, color="0.6", linewidth=0.6, linestyle=":")
        axes.annotate(f"{limit:.3g} ms", (0.01, limit), color="0.4", fontsize=7, va="bottom")
    _label_ends(axes, ends, float(_nines([last])[0]))
    ticks = [nine for nine in _NINES if nine <= last]
    axes.set_xticks(_nines(ticks), [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xlim(0, float(_nines([last])[0]) * 1.75)
    axes.set_xlabel("share of frames")
    axes.set_ylabel(panel.times)
    axes.set_title(panel.title)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], right: float) -> None:
    """Write each line's name at its end, one above the other where the ends are close."""
    low, high = axes.get_ylim()
    apart = (high / low) ** 0.065  # a line of text
    below = 0.0
    for late, label, colour in sorted(ends):
        height = max(late, below * apart)
        axes.annotate(label, (right * 1.02, height), color=colour, fontsize=7.5, va="center", annotation_clip=False)
        below = height


def _draw_timeline(panels: Sequence[Panel]) -> Figure:
    """Draw each beat of one round that was late by more than a frame, as a stroke whose height is the delay."""
    figure = Figure(
        figsize=(9, 0.36 * sum(len(panel.lines) for panel in panels) + 0.9 * len(panels)), layout="constrained"
    )
    heights = [len(panel.lines) + 1 for panel in panels]
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(every, panels, strict=True):
        rounds = _first_rounds(panel)
        scale = max(FRAME_MS, *(float(late.max()) for late in rounds))
        for place, late in enumerate(rounds):
            seconds = np.arange(len(late)) * PERIOD_NS / 1e9
            stalled = _stalled(late)
            axes.axhline(-place, color="0.8", linewidth=0.6)
            tops = -place + 0.85 * late[stalled] / scale
            axes.vlines(seconds[stalled], -place, tops, color=_COLOURS[1], linewidth=1.2)
        texts = [
            f"{label}: {f'worst {late.max():.0f} ms' if late.max() > FRAME_MS else 'none'}"
            for (label, _), late in zip(panel.lines, rounds, strict=True)
        ]
        axes.set_yticks([-place for place in range(len(texts))], texts, fontsize=8)
        axes.set_ylim(0.15 - len(texts), 1)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.set_title(panel.title)
    every[-1].set_xlim(0, max(len(late) for panel in panels for late in _first_rounds(panel)) * PERIOD_NS / 1e9)
    every[-1].set_xlabel("s")
    return figure


def _first_rounds(panel: Panel) -> list[Samples]:
    return [next(iter(row.latencies_ms.values())) for _, row in panel.lines]


def _stalled(late: Samples) -> NDArray[np.bool_]:
    return np.asarray(late > FRAME_MS)


def _draw_heat_map(rows: Rows) -> dict[str, Figure]:
    base = DESIGNS["gil"].base
    loads = [load for load in (*GIL_LOADS, *FREE_LOADS) if rows.where(load=load, executor=PRIORITY_THREAD)]
    columns = [(STDLIB_THREAD, None), *((PRIORITY_THREAD, level) for level in THREAD_LEVELS)]
    values = np.full((len(loads), len(columns)), np.nan)
    for i, load in enumerate(loads):
        for j, column in enumerate(columns):
            row = rows.get(base.but(load=load).with_executor(*column))
            if row is not None:
                values[i, j] = row.p99
    if np.isnan(values).all():
        return {}
    figure = Figure(figsize=(9, 0.45 * len(loads) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(values, norm=LogNorm(0.5, 1000), cmap="cividis", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if value < 20 else "black"  # noqa: PLR2004, where the map turns bright
            axes.annotate(
                f"{value:.0f}" if value >= 100 else f"{value:.3g}",  # noqa: PLR2004
                (j, i),
                ha="center",
                va="center",
                color=colour,
            )
    axes.set_xticks(range(len(columns)), ["stdlib", *(level.replace("_", "\n") for level in THREAD_LEVELS)])
    axes.set_yticks(range(len(loads)), [TITLES[load] for load in loads])
    held = sum(load in GIL_LOADS for load in loads)
    axes.axhline(held - 0.5, color="white", linewidth=3)
    axes.set_title("p99 of the window's lateness in ms; above the line: loads that hold the GIL")
    figure.colorbar(image, label="ms")
    return {"heatmap": figure}


def _draw_drawing(rows: Rows) -> dict[str, Figure]:
    """Draw the p99 of a window that draws in Python, for three ways to run its tasks."""
    ours = [
        row
        for row in rows.where(executor=AWARE_THREAD, feeding=CALLBACKS, python="", foreign=0)
        if row.condition.drawing_ms and row.condition.load in DRAWING_LOADS
    ]
    ours.sort(key=lambda row: (DRAWING_LOADS.index(row.condition.load or ""), row.condition.drawing_ms), reverse=True)
    if not ours:
        return {}
    figure = Figure(figsize=(9, 0.34 * len(ours) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for name, colour, label in (
        (STDLIB_THREAD, _COLOURS[1], "ThreadPoolExecutor(4)"),
        (BY_HAND, _COLOURS[0], "ThreadPoolExecutor(1), switch interval 1 ms"),
        (AWARE_THREAD, _COLOURS[2], "PriorityThreadPoolExecutor(4, latency_target=0.005)"),
    ):
        found = [
            (place, row.median_percentile(99))
            for place, own in enumerate(ours)
            if (row := own if name == AWARE_THREAD else rows.get(own.condition.with_executor(name))) is not None
        ]
        if found:
            places, p99 = zip(*found, strict=True)
            axes.plot(p99, places, "o", color=colour, label=label)
    axes.axvline(FRAME_MS, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("p99 of a frame's delay, ms; dotted: one frame at 60 Hz")
    names = [f"{TITLES[row.condition.load or '']}; {row.condition.drawing_ms:g} ms of drawing" for row in ours]
    axes.set_yticks(range(len(ours)), names)
    figure.legend(loc="outside upper left", frameon=False, fontsize=8)
    return {"drawing": figure}


def _draw_limits(rows: Rows) -> dict[str, Figure]:
    """Draw the limit of our pool's running workers and the delay of the window, over the time of one round."""
    base = DESIGNS["gil"].base
    places = [base.but(load=load) for load in ("changing", "python", "matmul", "mixed")]
    found = [rows.get(place.with_executor(AWARE_THREAD, "below_normal")) for place in places]
    shown = [row for row in found if row is not None and row.limits]
    if not shown:
        return {}
    figure = Figure(figsize=(9, 2.6 * len(shown)), layout="constrained")
    every = figure.subplots(2 * len(shown), 1, squeeze=False, height_ratios=[2, 1] * len(shown))[:, 0]
    for place, ours in enumerate(shown):
        stdlib = rows.get(ours.condition.with_executor(STDLIB_THREAD))
        _draw_limit(every[2 * place], every[2 * place + 1], ours, stdlib)
    every[-1].set_xlabel("s")
    return {"limits": figure}


def _draw_limit(above: Axes, below: Axes, ours: Row, stdlib: Row | None) -> None:
    start = next(iter(ours.results.values()))["ui"]["first_due_ns"]
    times, limits = np.asarray(ours.limits[0]).T
    seconds = (times - start) / 1e9
    named = ((stdlib, "0.6", "ThreadPoolExecutor", 0.9), (ours, _COLOURS[2], "nicefutures", 0.7))
    for row, colour, label, height in named:
        if row is not None:
            late = next(iter(row.latencies_ms.values()))
            beats = np.arange(len(late)) * PERIOD_NS / 1e9
            above.plot(beats, np.maximum(late, _LEAST_MS), color=colour, linewidth=1.2)
            above.annotate(label, (1.005, height), xycoords="axes fraction", color=colour, fontsize=7.5)
    above.set_yscale("log")
    above.axhline(FRAME_MS, color="0.6", linewidth=0.6, linestyle=":")
    above.set_ylabel("late, ms")
    above.set_title(TITLES[ours.condition.load or ""])
    below.step(seconds, limits, where="post", color=_COLOURS[1], linewidth=1.6)
    below.set_ylabel("workers")
    below.set_ylim(0, ours.condition.workers + 0.5)
    below.set_yticks(range(0, ours.condition.workers + 1, max(ours.condition.workers // 4, 1)))
    for axes in (above, below):
        axes.set_xlim(0, float(seconds[-1]))
        if ours.condition.load == "changing":
            phase = round(PHASE_S * 1e9)
            for edge in range(start // phase + 1, int(times[-1]) // phase + 1):
                axes.axvline((edge * phase - start) / 1e9, color="0.4", linewidth=0.8, linestyle="--")
