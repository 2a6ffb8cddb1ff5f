"""Percentiles and rates of each condition in a record, and the comparison with the standard library's executor."""

import dataclasses
import functools
import operator
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import stdlib_of
from ..watching.heartbeat import PERIOD_NS
from ..watching.levels import describe
from ..watching.samples import quantile
from .bootstrap import BLOCK, Interval, Samples, compare_medians, quantile_ratio

View = Literal["ui", "foreground", "frames"]
# ms: a frame at 60 Hz, and the delays that a user notices as a stutter and as a freeze.
FRAME_MS: Final = 1000 / 60
LIMITS_MS: Final = (FRAME_MS, 50.0, 100.0)
# ms: a smaller difference of latenesses is not visible; an eighth of a frame.
VISIBLE_MS: Final = 2.0
# With fewer beats, p99.9 would be their maximum.
_MANY: Final = 1000

BETTER, WORSE, SAME = "better", "worse", "not significant"


def stood_still(
    beats: Mapping[str, Any], machine: Mapping[str, Any] | None, period_ns: int = PERIOD_NS
) -> NDArray[np.bool_]:
    """Return a mask of the beats during which the machine itself stalled."""
    late = np.asarray(beats["lateness_ns"])
    due = beats["first_due_ns"] + period_ns * np.arange(len(late))
    out = np.zeros(len(late), dtype=np.bool_)
    for begun, ended in machine["stalls_ns"] if machine else ():
        out |= (due <= ended) & (due + late >= begun)
    # A round needs beats, so they are not all left out.
    return out if not out.all() else ~out


@dataclass(frozen=True, eq=False)
class Row:
    """One condition of a record, over all rounds.

    The `view` says which times to use: the lateness of the beats of one of the windows, or the durations of the
    foreground's frames while it computed without a pause. All of them are in ms, and called latencies here.
    """

    condition: Condition
    results: Mapping[int, Mapping[str, Any]]  # the answer of the cell of each round
    view: View
    seed: int  # of the resampling

    @functools.cache  # noqa: B019, rows live as long as the program needs the cache
    def in_view(self, view: View) -> "Row":
        """Return the same row with the times of another view."""
        return self if view == self.view else dataclasses.replace(self, view=view)

    @cached_property
    def latencies_ms(self) -> Mapping[int, Samples]:
        """Latencies in ms by round; beats are in order."""
        return {number: self._latencies_of(number) for number in self.results if self._seen(number)}

    def _seen(self, number: int) -> Mapping[str, Any]:
        return self.results[number]["foreground" if self.view == "frames" else self.view] or {}

    def _latencies_of(self, number: int) -> Samples:
        if self.view == "frames":
            return np.asarray(self._seen(number)["frame_ns"]) / 1e6
        return np.asarray(self._seen(number)["lateness_ns"])[~self._stood_still(number)] / 1e6

    def _stood_still(self, number: int) -> NDArray[np.bool_]:
        return stood_still(self._seen(number), self.results[number]["machine"])

    @property
    def left_out(self) -> tuple[int, int]:
        """Number of beats that are left out because the machine itself stalled, and number of all beats."""
        view = self.in_view("foreground") if self.view == "frames" else self
        masks = [view._stood_still(number) for number in self.results if view._seen(number)]  # noqa: SLF001
        return sum(int(mask.sum()) for mask in masks), sum(map(len, masks))

    @cached_property
    def pooled_ms(self) -> Samples:
        """Latencies of all rounds, in ms."""
        return np.concatenate([*self.latencies_ms.values()]) if self.latencies_ms else np.empty(0)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the latencies in ms; None if there are too few."""
        enough = _MANY if percent > 99 else 1  # noqa: PLR2004
        return float(np.percentile(self.pooled_ms, percent)) if len(self.pooled_ms) >= enough else None

    def median_percentile(self, percent: float) -> float:
        """Return the median of the rounds' percentiles, in ms."""
        return statistics.median(float(np.percentile(late, percent)) for late in self.latencies_ms.values())

    @property
    def limits(self) -> Sequence[Sequence[tuple[int, int]]]:
        """Time of each beat in ns, and the limit of our pool's running workers at that time; by round."""
        seen = [(result["ui"] or {}).get("seen") for result in self.results.values()]
        return [each for each in seen if each]

    @property
    def controller_share(self) -> float:
        """Fraction of a core used by the thread that limits our pool's workers; the median of the rounds."""
        return float(statistics.median(result.get("controller_cpu_share", 0.0) for result in self.results.values()))

    @property
    def p99(self) -> float:
        """The 99th percentile of the lateness in ms."""
        return self.percentile(99) or float("nan")

    @property
    def maximum(self) -> float | None:
        """The largest lateness in ms."""
        return float(self.pooled_ms.max()) if len(self.pooled_ms) else None

    def share_over(self, limit_ms: float) -> float | None:
        """Return the share of beats, in %, that were later than a limit."""
        return float((self.pooled_ms > limit_ms).mean() * 100) if len(self.pooled_ms) else None

    @cached_property
    def rates(self) -> Mapping[int, float]:
        """Pieces of background work per second, by round."""
        return {number: result["done"] / result["seconds"] for number, result in self.results.items()}

    @property
    def rate(self) -> float | None:
        """The median of the rates."""
        return statistics.median(self.rates.values()) if self.condition.load else None

    @property
    def frames_per_s(self) -> float | None:
        """Speed of the foreground while it computes without a pause; the median of the rounds."""
        return self.in_view("frames")._median_of(lambda seen: seen["frames_per_s"])  # noqa: SLF001

    def frame_ms(self, percent: float) -> float | None:
        """Return a percentile of the durations of the foreground's frames in ms; the median of the rounds."""
        frames = self.in_view("frames")
        return frames._median_of(lambda seen: quantile(seen["frame_ns"], percent / 100) / 1e6)  # noqa: SLF001

    @property
    def cpu_share(self) -> float | None:
        """Fraction of a core used by the heartbeat's thread and the process that watches the machine."""
        own = self._median_of(lambda seen: seen["cpu_share"])
        controls = [result["machine"]["cpu_share"] for result in self.results.values() if result["machine"]]
        return own + (statistics.median(controls) if controls else 0.0) if own is not None else None

    def _median_of(self, what: Callable[[Mapping[str, Any]], float]) -> float | None:
        seen = [self._seen(number) for number in self.results if self._seen(number)]
        return statistics.median(map(what, seen)) if seen else None

    @property
    def level(self) -> str | None:
        """The priority of the workers, as reported by the operating system."""
        threads = Counter[str]()
        for result in self.results.values():
            threads.update(result["levels"])
        return describe(threads) or None

    @functools.cache  # noqa: B019, as above
    def latency_ratio(self, reference: "Row | None", percent: float = 99) -> Interval | None:
        """Return this row's p99, or another percentile, over the reference's; None without a reference."""
        common = sorted(self.latencies_ms.keys() & reference.latencies_ms.keys()) if reference is not None else []
        if reference is None or not common:
            return None
        ours, theirs = ([row.latencies_ms[number] for number in common] for row in (self, reference))
        # The record has quantiles of the frames, without their order.
        return quantile_ratio(ours, theirs, percent / 100, self.seed, block=1 if self.view == "frames" else BLOCK)

    def work_ratio(self, reference: "Row | None") -> Interval | None:
        """Return this row's rate of work over the reference's; None without a reference."""
        if reference is None or not self.condition.load or not reference.condition.load:
            return None
        return self._ratio_by_round(self.rates, reference.rates)

    def speed_ratio(self, reference: "Row | None") -> Interval | None:
        """Return the foreground's speed over that in the reference's row; None without a reference."""
        if reference is None:
            return None
        speeds = [
            {number: seen["frames_per_s"] for number in row.results if (seen := row.in_view("frames")._seen(number))}  # noqa: SLF001
            for row in (self, reference)
        ]
        return self._ratio_by_round(*speeds)

    def speed_kept(self, alone: "Row | None") -> float | None:
        """Return the foreground's speed over that on an idle machine; None if either was not measured."""
        own, base = self.frames_per_s, alone.frames_per_s if alone else None
        return own / base if own and base else None

    def frame_ratio(self, reference: "Row | None") -> Interval | None:
        """Return the p95 of the foreground's frame durations over that in the reference's row."""
        if reference is None:
            return None
        times = [
            {number: quantile(seen["frame_ns"], 0.95) for number in row.results if (seen := row._seen(number))}  # noqa: SLF001
            for row in (self.in_view("frames"), reference.in_view("frames"))
        ]
        return self._ratio_by_round(*times)

    def _ratio_by_round(self, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval | None:
        pairs = [(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys())]
        if not pairs or not all(below for _, below in pairs):
            return None
        return compare_medians(pairs, operator.truediv, self.seed)

    def verdict(self, reference: "Row | None") -> str | None:
        """Return whether the p99 is "better" or "worse" than the reference's, or the difference "not significant".

        A significant difference is visible, and the interval of its ratio excludes 1.
        """
        ratio = self.latency_ratio(reference)
        if reference is None or ratio is None:
            return None
        if ratio.low <= 1 <= ratio.high or abs(self.p99 - reference.p99) < VISIBLE_MS:
            return SAME
        return BETTER if ratio.value < 1 else WORSE


class Rows:
    """All conditions of a record."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        results: dict[Condition, dict[int, Mapping[str, Any]]] = {}
        for cell in record["cells"]:
            if "condition" in cell and "result" in cell and 0 < cell["round"] <= record["rounds"]:
                by_round = results.setdefault(Condition(**cell["condition"]), {})
                by_round[cell["round"]] = cell["result"]
        self._rows = {
            condition: Row(condition, by_round, "ui" if condition.ui else "frames", record["seed"])
            for condition, by_round in results.items()
        }

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __getitem__(self, condition: Condition) -> Row:
        return self._rows[condition]

    def get(self, condition: Condition) -> Row | None:
        """Return the row of a condition; None if it was not measured."""
        return self._rows.get(condition)

    def reference(self, row: Row) -> Row | None:
        """Return the row of the standard library's executor under the same conditions; None for that row itself."""
        if row.condition.executor == NOTHING:
            return None
        condition = row.condition.with_executor(stdlib_of(row.condition.executor))
        found = self.get(condition) if condition != row.condition else None
        return found.in_view(row.view) if found else None

    def alone(self, row: Row) -> Row | None:
        """Return the row with the same windows and nothing in the background."""
        found = self.get(row.condition.without_background())
        return found.in_view(row.view) if found else None

    def where(self, **parts: Any) -> Sequence[Row]:
        """Return the rows whose conditions have all these parts."""
        return [row for row in self if all(getattr(row.condition, name) == part for name, part in parts.items())]
