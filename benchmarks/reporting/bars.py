"""Two bars for each executor: the speed that other programs keep, and the work that the job does.

The SVG is written here and not by Matplotlib, so that the same numbers give the same file with every version: the
README's picture is in the repository, in one file for a light page and one for a dark one.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from ..findings.kept import Kept

_LETTER: Final = 8.5  # px, in the names, bold in a wide font
_PANEL: Final = 160  # px for 100 %
_GAP: Final = 68  # between the panels, for the values
_ROW: Final = 46  # the name, and under it the bars: a phone shows the whole width in letters that can be read
_NAME: Final = 14
_BAR: Final = 18
_VALUE: Final = 42
_TOP: Final = 34
# A bar cannot be longer than that without running out of its panel; its number says how long it is.
_LONGEST: Final = 1.25

_LIGHT: Final = {"text": "#1f2328", "muted": "#59636e", "line": "#8b949e", "speed": "#0072B2", "work": "#D55E00"}
_DARK: Final = {"text": "#e6edf3", "muted": "#9ba3ad", "line": "#6e7681", "speed": "#56B4E9", "work": "#E69F00"}


def to_bars(executors: Sequence[Kept], *, dark: bool = False) -> str:
    """Return an SVG element.

    Parameters
    ----------
    executors : sequence of Kept
        One row each, from above.
    dark : bool
        For a dark page.
    """
    colours = _DARK if dark else _LIGHT
    height = _TOP + _ROW * len(executors) + 24
    described = "; ".join(f"{each.name}: {each.speed:.0%} speed, {each.work:.0%} work" for each in executors)
    right = _PANEL + _GAP
    names = round(_LETTER * max(len(_short(each.name)) for each in executors))
    width = max(right + round(_PANEL * _LONGEST) + 50, names)
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">'
            ),
            f"<title>{escape(described)}</title>",
            *(
                f'<text x="0" y="{_TOP + _ROW * place + _NAME}" dominant-baseline="central" '
                f'fill="{colours["text"]}"{_weight(each)}>{escape(_short(each.name))}</text>'
                for place, each in enumerate(executors)
            ),
            *_panel(executors, 0, "speed left to other programs", "idle machine", colours, "speed", _speed),
            *_panel(executors, right, "work done by the job", "standard pool", colours, "work", _work),
            "</svg>",
        ]
    )


def _speed(executor: Kept) -> float:
    return executor.speed


def _work(executor: Kept) -> float:
    return executor.work


def _panel(
    executors: Sequence[Kept],
    left: int,
    title: str,
    reference: str,
    colours: dict[str, str],
    colour: str,
    value_of: Callable[[Kept], float],
) -> list[str]:
    full, bottom = left + _PANEL, _TOP + _ROW * len(executors)
    parts = [
        f'<text x="{left}" y="20" font-weight="600" fill="{colours["text"]}">{title}</text>',
        (
            f'<text x="{full}" y="{bottom + 16}" text-anchor="middle" font-size="11" '
            f'fill="{colours["muted"]}">100%: {reference}</text>'
        ),
    ]
    for place, each in enumerate(executors):
        value = value_of(each)
        width = max(round(_PANEL * min(value, _LONGEST)), 2)
        end = left + width
        # The value stands beside the line, not on it.
        beside = full if end < full < end + _VALUE else end
        parts.append(
            f'<line x1="{full}" x2="{full}" y1="{_middle(place) - _BAR // 2}" '
            f'y2="{_middle(place) + _BAR // 2 + 4}" stroke="{colours["line"]}" stroke-dasharray="3 3"/>'
        )
        parts.append(
            f'<rect x="{left}" y="{_middle(place) - _BAR // 2}" width="{width}" height="{_BAR}" rx="2" '
            f'fill="{colours[colour]}"/>'
        )
        parts.append(
            f'<text x="{beside + 6}" y="{_middle(place)}" dominant-baseline="central" '
            f'fill="{colours["text"]}"{_weight(each)}>{value:.0%}</text>'
        )
    return parts


def _middle(place: int) -> int:
    return _TOP + _ROW * place + _ROW - _BAR // 2 - 4


def _weight(executor: Kept) -> str:
    return ' font-weight="600"' if "Priority" in executor.name else ""


def _short(name: str) -> str:
    """Return a name that fits above the bars: ours without its level, which is the default one."""
    return name.removesuffix(", idle").removesuffix(", below_normal")
