"""What charts are drawn with: colours, patterns and text, as SVG. Pure.

Colours keep a contrast of at least 4.5:1 for text; each pattern is told from the others in black and white too.
"""

from __future__ import annotations

from html import escape

INK, MUTED, GRID = "#1c2733", "#4d5b69", "#dfe5ea"
LINE, BAND, LIMIT = "#0b4f6c", "#e3f1e6", "#2e7d4a"
OUT, OUT_FILL = "#a4161a", "#f6d9d9"
GAP, VEIL = "#5f6b76", "#eceff2"
THINNED, THINNED_FILL = "#6b4fa0", "#f1ecf9"


def patterns(name: str) -> str:
    """Hatching of gaps, lattice of losses, stripes of thinned spans, dots of excursions; ids begin with `name`."""
    return (
        f'<pattern id="{name}-gap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="7" height="7" fill="#ffffff"/><path d="M0 0V7" stroke="{GAP}" stroke-width="2"/></pattern>'
        f'<pattern id="{name}-lost" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="7" height="7" fill="#ffffff"/><path d="M0 0V7M0 0H7" stroke="{INK}" stroke-width="2"/></pattern>'
        f'<pattern id="{name}-thinned" width="9" height="9" patternUnits="userSpaceOnUse">'
        f'<rect width="9" height="9" fill="{THINNED_FILL}"/><path d="M1 0V9" stroke="{THINNED}"/></pattern>'
        f'<pattern id="{name}-out" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="{OUT_FILL}"/><circle cx="2" cy="2" r="1.3" fill="{OUT}"/>'
        f'<circle cx="6" cy="6" r="1.3" fill="{OUT}"/></pattern>'
        f'<pattern id="{name}-short" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="#fbf0dc"/><circle cx="4" cy="4" r="1" fill="#7a4b00"/></pattern>'
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", fill: str = INK, weight: str = "400", halo: int = 0
) -> str:
    """Escaped words at a place; `halo` is the width of a white edge that lifts them off what lies below."""
    edge = f' stroke="#ffffff" stroke-width="{halo}" paint-order="stroke" stroke-linejoin="round"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"{edge}>'
        f"{escape(words)}</text>"
    )
