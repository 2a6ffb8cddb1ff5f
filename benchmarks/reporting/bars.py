"""Two bars for each executor: the speed that other programs keep, and the work that the job does.

This module writes the SVG itself, so that the file does not depend on Matplotlib's version: the README's picture is in
the repository, in one file for a light page and one for a dark page.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from ..findings.kept import Kept

_LETTER: Final = 8.5  # px per letter of a name, bold in a wide font
_PANEL: Final = 160  # px for 100 %
_GAP: Final = 68  # between the panels, for the values
_ROW: Final = 46  # px; the bars are below the name, so that letters are readable on a phone, which shows the full width
_NAME: Final = 14
_BAR: Final = 18
_VALUE: Final = 42
_TOP: Final = 34
# A longer bar would leave its panel, so it is cut; its number gives the true length.
_LONGEST: Final = 1.25

_LIGHT: Final = {"text": "#1f2328", "muted": "#59636e", "line": "#8b949e", "speed": "#0072B2", "work": "#D55E00"}
_DARK: Final = {"text": "#e6edf3", "muted": "#9ba3ad", "line": "#6e7681", "speed": "#56B4E9", "work": "#E69F00"}


def to_bars(executors: Sequence[Kept], *, dark: bool = False) -> str:
    """Return an SVG element with a row for each of the executors, from top to bottom; `dark` is for a dark page."""
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
            *_panel(executors, 0, "speed left to other programs", "idle machine", colours, "speed"),
            *_panel(executors, right, "work done by the job", "standard pool", colours, "work"),
            "</svg>",
        ]
    )


def _panel(
    executors: Sequence[Kept],
    left: int,
    title: str,
    reference: str,
    colours: dict[str, str],
    side: str,
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
        value: float = getattr(each, side)
        width = max(round(_PANEL * min(value, _LONGEST)), 2)
        end = left + width
        # The value is next to the line, not on it.
        beside = full if end < full < end + _VALUE else end
        parts.append(
            f'<line x1="{full}" x2="{full}" y1="{_middle(place) - _BAR // 2}" '
            f'y2="{_middle(place) + _BAR // 2 + 4}" stroke="{colours["line"]}" stroke-dasharray="3 3"/>'
        )
        parts.append(
            f'<rect x="{left}" y="{_middle(place) - _BAR // 2}" width="{width}" height="{_BAR}" rx="2" '
            f'fill="{colours[side]}"/>'
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
    """Return a name that fits above the bars: that of our executor without its priority, which is the default."""
    return name.removesuffix(", idle").removesuffix(", below_normal")
