"""Set-up of matplotlib for every figure of the reports: SVG, one style, the same bytes for the same drawing."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#767677"
"""Text and axes: readable on light and on dark. The page replaces it with its own text colour."""
_COLOURED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "augserve",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    **dict.fromkeys(_COLOURED, INK),
}


@contextmanager
def svg_figure(
    path: Path, width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[tuple["Figure", Any]]:
    """Yield a figure of `width` x `height` inches and its (rows, columns) array of axes; then write it to `path`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
