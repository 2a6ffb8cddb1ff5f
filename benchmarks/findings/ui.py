"""The answer of the ui suite: whether the program's own window still moves."""

from ..analysis.rows import Rows
from ..subjects.executors import AWARE_THREAD, LOW_PROCESS, STDLIB_PROCESS, STDLIB_THREAD
from ..subjects.loads import TITLES
from ..suites.designs import DESIGNS
from ..watching.windows import COMPARED_UIS
from .pairs import Pair, pair_tables
from .tables import Table
from .wording import background_of


def tables(rows: Rows) -> list[Table]:
    """Return direct comparisons."""
    return pair_tables(rows, _pairs())


def _pairs() -> dict[str, list[Pair]]:
    base = DESIGNS["ui"].base
    pairs = [
        (place.but(ui=ui), place)
        for ui in COMPARED_UIS
        if ui != "thread"
        for place in (
            base.without_background(),
            *(
                base.but(load=load).with_executor(*each)
                for load in ("python", "matmul")
                for each in ((STDLIB_THREAD, None), (AWARE_THREAD, "below_normal"), (LOW_PROCESS, "idle"))
            ),
        )
    ]
    return {"Real windows over the plain heartbeat": pairs}


def verdict(rows: Rows) -> list[str]:
    """Return the answer in sentences."""
    ui = next((ui for ui in COMPARED_UIS if rows.where(ui=ui)), None)
    executors = ((LOW_PROCESS, "idle"), (STDLIB_PROCESS, None), (AWARE_THREAD, "below_normal"), (STDLIB_THREAD, None))
    sentences = []
    for load in TITLES:
        found = [
            row
            for executor, priority in executors
            for row in rows.where(executor=executor, priority=priority, load=load, ui=ui)
        ]
        if found:
            parts = ", ".join(f"{row.p99:.1f} ms beside {background_of(row.condition)}" for row in found)
            sentences.append(f"{TITLES[load]}: the program's own window ({ui}) is late by {parts} (p99).")
    return sentences
