"""Reports as the page takes them in: a drawing with ids of its own, a JSON file as an object."""

import json
import re
from pathlib import Path
from typing import Any

from ..results.figures import INK
from ..results.metrics_file import ResultsError


def inline(svg: str, name: str) -> str:
    """An SVG file's drawing for the page: in the page's own colour of text, with ids that no other drawing has."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def figure(path: Path, title: str) -> dict[str, Any]:
    """`id`, `title` and `svg` of a drawing. Raises ResultsError where the file is missing or none."""
    from markupsafe import Markup

    name = f"figure-{path.parent.name}-{path.stem}"
    try:
        svg = inline(path.read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run what writes its folder anew") from error
    described = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return {"id": name, "title": title, "svg": Markup(described)}  # noqa: S704 - drawn by the pipeline itself


def read_object(path: Path, command: str) -> dict[str, Any]:
    """Raises ResultsError, with the command that writes the file, where it is missing or no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run `{command}`") from error
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: must be a JSON object; run `{command}`")
    return value
