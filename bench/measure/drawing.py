"""Figures as SVG, with nothing but the standard library; readable by day and by night."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

AXES = {"keys": "keys", "windows": "open windows a key", "partitions": "partitions"}
ROWS = {"ns_per_event": "CPU ns an event", "bytes_per_key": "bytes of state a key"}
PANEL_WIDTH, PANEL_HEIGHT = 250, 150
LEFT, TOP, GAP, BELOW = 30, 56, 40, 62
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #57606a; }
  .page { fill: #ffffff; } .title { font-weight: 600; fill: #1f2328; } .value { fill: #1f2328; }
  .grid { stroke: #d0d7de; } .line { stroke: #0969da; stroke-width: 2; fill: none; } .dot { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; } .page { fill: #0d1117; } .title, .value { fill: #f0f6fc; }
    .grid { stroke: #3d444d; } .line { stroke: #4493f8; } .dot { fill: #4493f8; }
  }"""


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _panel(left: float, top: float, places: list[str], values: list[float], highest: float) -> str:
    """Values over places at even distances: what the eye is to compare is the height, from zero."""
    bottom = top + PANEL_HEIGHT
    xs = [left + PANEL_WIDTH * (i + 0.5) / len(places) for i in range(len(places))]
    ys = [bottom - PANEL_HEIGHT * value / highest for value in values]
    parts = [f'<line class="grid" x1="{left}" y1="{bottom}" x2="{left + PANEL_WIDTH}" y2="{bottom}"/>',
             f'<polyline class="line" points="{" ".join(f"{x:.0f},{y:.0f}" for x, y in zip(xs, ys))}"/>']
    for x, y, after, place, value in zip(xs, ys, [*ys[1:], bottom], places, values):
        is_steep = y - after > PANEL_HEIGHT / 5    # the line behind it would go through its text
        parts += [f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="3.5"/>',
                  _text(x + 2 if is_steep else x, y - 9, f"{value:,.0f}", "value", "end" if is_steep else "middle"),
                  _text(x, bottom + 17, place)]
    return "\n".join(parts)


def _row(figures: dict[str, Any], measure: str, top: float) -> str:
    """Panels share a scale, but with those that are of another order."""
    values = {axis: [case[measure] for case in figures[axis]] for axis in AXES}
    peaks = {axis: max(of_axis) for axis, of_axis in values.items()}
    parts = [_text(LEFT, top - 22, ROWS[measure], "title", "start")]
    for column, (axis, title) in enumerate(AXES.items()):
        left = LEFT + column * (PANEL_WIDTH + GAP)
        highest = 1.2 * max(peak for peak in peaks.values() if peak < 10 * peaks[axis])
        parts += [_panel(left, top, [f"{case[axis]:,}" for case in figures[axis]], values[axis], highest),
                  _text(left + PANEL_WIDTH / 2, top + PANEL_HEIGHT + 35, title)]
    return "\n".join(parts)


def scale_svg(figures: dict[str, Any]) -> str:
    """Rows: what is measured; columns: what grows."""
    width = 2 * LEFT + len(AXES) * PANEL_WIDTH + (len(AXES) - 1) * GAP
    step = TOP + PANEL_HEIGHT + BELOW - 14
    height = step * len(ROWS) + 8
    rows = "\n".join(_row(figures, measure, TOP + i * step) for i, measure in enumerate(ROWS))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img">\n<title>What an event costs as keys, windows and partitions grow</title>\n<style>{STYLE}\n'
            f'</style>\n<rect class="page" width="{width}" height="{height}" rx="8"/>\n{rows}\n</svg>\n')
