"""What the quick suite is there to tell: which executor to use."""

from typing import Final

from ..analysis.rows import Row, Rows
from ..subjects.executors import stdlib_of
from ..subjects.loads import TITLES
from .choice import choose, worst
from .tables import Table
from .wording import background_of

# Less than that is noise.
_FULL_SPEED: Final = 0.99


def tables(_rows: Rows) -> list[Table]:
    """Return none: the table of which executor to use says it all."""
    return []


def verdict(rows: Rows) -> list[str]:
    """Return it in sentences."""
    sentences = []
    for load in TITLES:
        candidates = rows.where(load=load)
        if len(candidates) < 2:  # noqa: PLR2004
            continue
        best = choose(candidates, rows)
        stdlib = rows.get(best.condition.with_executor(stdlib_of(best.condition.executor)))
        alone = rows.alone(best)
        sentences.append(
            f"For {TITLES[load]}, use {background_of(best.condition)}. While it works, {_effect(best, alone)}."
        )
        if stdlib is not None and stdlib.condition != best.condition:
            sentences[-1] += f" With {background_of(stdlib.condition)}, {_effect(stdlib, alone)}."
            if worst(best) > worst(stdlib):
                sentences[-1] += " It is recommended because other programs keep more of their speed."
    return sentences


def _effect(row: Row, alone: Row | None) -> str:
    """Return what other programs and windows notice, in words."""
    delay = f"1 frame in 100 is more than {worst(row):.1f} ms late"
    speed = row.speed_kept(alone)
    if speed is None:
        return delay
    kept = "run at full speed" if speed >= _FULL_SPEED else f"keep {speed:.0%} of their speed"
    return f"other programs {kept} and {delay}"
