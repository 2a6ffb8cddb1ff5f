"""The answer of the neighbour suite: how much another program loses, and how much work the pool does."""

from collections.abc import Sequence
from typing import Final

from ..analysis.bootstrap import as_text
from ..analysis.rows import Rows
from ..subjects.condition import Condition
from ..subjects.executors import LOW_ISOLATED, LOW_PROCESS, STDLIB_PROCESS
from ..suites.designs import DESIGNS, FAR_NEIGHBOURS, NEIGHBOURS
from .tables import Table, Value, columns
from .targets import Target, target_table
from .wording import background_of

_COLUMNS: Final = columns(
    "background | speed/alone | frame p95 ms:2 | frame p95/alone | products/s:1 | products/stdlib"
)


def tables(rows: Rows) -> list[Table]:
    """Return a program's loss to its neighbours, in its session and in another one, and the targets."""
    near = DESIGNS["neighbour"].base
    far = near.but(foreground="busy-session")
    ours = rows.get(near.with_executor(LOW_PROCESS, "idle"))
    isolated = rows.get(far.with_executor(LOW_ISOLATED, "idle"))
    alone, stdlib = rows.get(near.without_background()), rows.get(near.with_executor(STDLIB_PROCESS))
    far_alone = rows.get(far.without_background())
    targets: list[Sequence[Value]] = []
    if ours is not None and alone is not None and stdlib is not None:
        targets += [
            Target("the program's speed over alone", least=0.98).judge(ours.speed_ratio(alone)),
            Target("frame p95 over alone", most=1.2).judge(ours.frame_ratio(alone)),
            Target("work over ProcessPoolExecutor's", least=1.6).judge(ours.work_ratio(stdlib)),
        ]
    if isolated is not None and far_alone is not None:
        text = "frame p95 over alone, in another session, isolated"
        targets.append(Target(text, most=1.3).judge(isolated.frame_ratio(far_alone)))
    return [
        _table(rows, near, NEIGHBOURS, f"A program beside {near.workers} workers"),
        _table(rows, far, FAR_NEIGHBOURS, "A program in another session, that wants the whole machine"),
        target_table("Targets", targets),
    ]


def _table(rows: Rows, place: Condition, neighbours: Sequence[tuple[str, str | None]], title: str) -> Table:
    lines = []
    alone, stdlib = rows.get(place.without_background()), rows.get(place.with_executor(STDLIB_PROCESS))
    for condition in [place.without_background(), *(place.with_executor(*each) for each in neighbours)]:
        row = rows.get(condition)
        if row is not None:
            beside = None if row is alone else alone
            ratios = (row.speed_ratio(beside), row.frame_ratio(beside), row.work_ratio(stdlib))
            speed, frame, work = map(as_text, ratios)
            lines.append((background_of(condition), speed, row.frame_ms(95), frame, row.rate, work))
    return Table(title, _COLUMNS, lines)


def verdict(rows: Rows) -> list[str]:
    """Return the answer in sentences."""
    near = DESIGNS["neighbour"].base
    far = near.but(foreground="busy-session")
    places = (
        (near, "beside", NEIGHBOURS),
        (far, "in another session, which wants the whole machine, beside", FAR_NEIGHBOURS),
    )
    sentences = []
    for place, where, neighbours in places:
        alone, parts = rows.get(place.without_background()), []
        for each in neighbours:
            row = rows.get(place.with_executor(*each))
            speed = row.speed_ratio(alone) if row is not None and alone is not None else None
            if row is not None and speed is not None:
                frames, rate = row.frame_ms(95) or 0.0, row.rate or 0.0
                did = f"frames of {frames:.2f} ms (p95), {rate:.0f} products/s"
                parts.append(f"{background_of(row.condition)} {speed.value:.0%}, {did}")
        if parts:
            sentences.append(f"A program keeps of its speed {where}: {'; '.join(parts)}.")
    return sentences
