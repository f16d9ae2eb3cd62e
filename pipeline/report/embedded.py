"""Files of reports as the page embeds them: an SVG drawing with ids of its own, a JSON file as an object."""

import json
import re
from pathlib import Path
from typing import Any

from ..results.figures import INK
from ..results.metrics_file import ResultsError

WIDE_PT = 500.0
"""Wider drawings take the whole width of the page."""


def read_object(path: Path, command: str) -> dict[str, Any]:
    """Raises ResultsError, with the command that writes the file, where it is missing or no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run `{command}`") from error
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: must be a JSON object; run `{command}`")
    return value


def figure(path: Path, title: str) -> dict[str, Any]:
    """`id`, `title`, `wide` and `svg` of a drawing. Raises ResultsError where the file is missing or no SVG."""
    from markupsafe import Markup

    name = f"figure-{path.parent.name}-{path.stem}"
    try:
        svg = inline(path.read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run the command that writes its folder again") from error
    width = re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
    described = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    wide = width is not None and float(width[1]) > WIDE_PT
    return {"id": name, "title": title, "wide": wide, "svg": Markup(described)}  # noqa: S704 - drawn by the pipeline


def inline(svg: str, name: str) -> str:
    """The drawing of an SVG file in the text colour of the page, with ids that no other drawing has."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
