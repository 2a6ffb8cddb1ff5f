"""What the quick suite is there to tell: which executor to take."""

from ..analysis.rows import Rows
from ..subjects.executors import stdlib_of
from ..subjects.loads import TITLES
from .choice import choose, worst
from .tables import Table
from .wording import background_of


def tables(_rows: Rows) -> list[Table]:
    """Return none: the table of which executor to take says it all."""
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
        speed = best.speed_kept(alone)
        kept = f", other programs keep {speed:.0%} of their speed" if speed is not None else ""
        sentence = (
            f"For {TITLES[load]}, take {background_of(best.condition)}: nobody waits for more than {worst(best):.1f} "
            f"ms (p99){kept}"
        )
        if stdlib is not None and stdlib.condition != best.condition:
            their = stdlib.speed_kept(alone)
            less = f" and {their:.0%}" if their is not None else ""
            sentence += f" (beside {background_of(stdlib.condition)}: {worst(stdlib):.1f} ms{less})"
        sentences.append(f"{sentence}.")
    return sentences
