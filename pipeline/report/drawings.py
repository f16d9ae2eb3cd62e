"""SVG files as the page embeds them: in its text colour, with ids that are unique on the page."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..results.figures import INK
from ..results.metrics_file import ResultsError

WIDE_PT = 500.0
"""Wider drawings take the whole width of the page."""


def figures(folder: Path, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """`id`, `title`, `wide` and `svg` of the drawing of each name. Raises ResultsError for a bad file."""
    from markupsafe import Markup

    found = []
    for name, title in titles.items():
        path, own_id = folder / f"{name}.svg", f"figure-{folder.name}-{name}"
        try:
            svg = inline(path.read_text(encoding="utf-8"), own_id)
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path}: {error}; run `dvc repro {folder.name}`") from error
        width = re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
        described = Markup(svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1))  # noqa: S704 - drawn here
        wide = width is not None and float(width[1]) > WIDE_PT
        found.append({"id": own_id, "title": title, "wide": wide, "svg": described})
    return found


def inline(svg: str, prefix: str) -> str:
    """The drawing of an SVG file, with `prefix` before its ids."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)
