"""One self-contained page of all that the pipeline found: no request leaves it; light and dark; phone and desktop."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .figures import INK, TITLES
from .grid import Grid
from .headline import headline, where
from .papers import CLAIMS, DIFFERENCES
from .results import Evaluated, ResultsError, read_results
from .tables import ablations, cells, units
from .targets import outcomes, target_grid
from .tuning import Selection, longest_waits, over_tuning
from .words import sentence, worth

TEMPLATE = "page.html.j2"
SECTIONS = (
    ("headline", "Headline"),
    ("targets", "Targets"),
    ("table", "All policies"),
    ("ablations", "What each part is worth"),
    ("figures", "Figures"),
    ("compare", "Long comparison"),
    ("model-card", "Predictors"),
    ("fidelity", "Fidelity"),
    ("differences", "The papers"),
)
"""The sections' ids, which links and tests hold on to, and their names."""
_PREDICTED = ("kendall_tau", "mae", "mae_baseline", "coverage_80")
_COMPARED = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "throughput", "attainment")


@dataclass(frozen=True, slots=True)
class Sources:
    """Folders of reports/ that the page shows, of which the last two may be missing, and what tuning chose."""

    evaluate: Path
    train: Path
    compare: Path
    fidelity: Path
    selection: Path


def page(sources: Sources) -> str:
    """The page as HTML. Raises ResultsError for a report that is missing or of another version."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"plain": lambda text: text.replace("*", ""), "width": _width}
    found = read_results(sources.evaluate / "metrics.json")
    report = _evaluated(sources.evaluate, found)
    selection = Selection.read(sources.selection)
    shown = [(name, title) for name, title in SECTIONS if report.get(name, True)]
    return environment.get_template(TEMPLATE).render(
        sections=shown,
        report=report,
        tuning=[text for text in (over_tuning(found, selection), longest_waits(found, selection)) if text],
        compare=_compare(sources.compare),
        predictors=predictors(_read(sources.train / "metrics.json", "dvc repro train")),
        fidelity=_fidelity(sources.fidelity),
        claims=list(CLAIMS.items()),
        differences=list(DIFFERENCES.items()),
    )


def predictors(metrics: Mapping[str, Any]) -> Grid:
    """A row a set and target. Sets without a figure that is shown are left out."""
    rows = []
    for source, targets in sorted(metrics.items()):
        for target, found in sorted(targets.items()) if isinstance(targets, Mapping) else ():
            if isinstance(found, Mapping) and "mae" in found:
                rows.append((source, target, *(f"{found[name]:.3g}" if name in found else "–" for name in _PREDICTED)))
    return Grid(("set", "target", "Kendall's τ", "MAE", "MAE of the baseline", "coverage"), rows, 2)


def inline(svg: str, name: str) -> str:
    """An SVG file's drawing for the page: in the page's own colour of text, with ids that no other drawing has."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def _evaluated(folder: Path, found: Evaluated) -> dict[str, Any]:
    jobs = [(workload, profile) for workload, profile, _ in found.tables()]
    return {
        "headlines": [
            {
                "sentence": sentence(found, *job),
                "worth": worth(found, *job),
                "where": where(found, *job),
                "table": headline(found, *job),
            }
            for job in jobs
        ],
        "targets": [
            (f"{workload} on {profile}", target_grid(known))
            for workload, profile in jobs
            if (known := outcomes(found, workload, profile))
        ],
        "parts": [
            {
                "title": f"{of_workload} on {of_profile}",
                "note": units(found, of_workload, of_profile),
                "cells": cells(by_load),
            }
            for of_workload, of_profile, by_load in found.tables()
        ],
        "ablations": [
            (f"{of_workload} on {of_profile}", table)
            for of_workload, of_profile, by_load in found.tables()
            if (table := ablations(by_load)) is not None
        ],
        "figures": [_figure(folder / f"{name}.svg", title) for name, title in TITLES.items()],
    }


def _compare(folder: Path) -> dict[str, Any]:
    if not (folder / "metrics.json").exists():
        return {"missing": "Every rival on more workloads, engines, loads and seeds: `make compare` adds it here."}
    try:
        return {"missing": "", **_evaluated(folder, read_results(folder / "metrics.json"))}
    except ResultsError as error:  # what takes hours to make again is not asked for by the pipeline
        return {"missing": f"Not shown: {error}."}


def _fidelity(folder: Path) -> dict[str, Any]:
    if not (folder / "metrics.json").exists():
        return {"missing": "Not measured on this machine: `make fidelity` adds it here."}
    results = _read(folder / "metrics.json", "make fidelity")
    summary = _read(folder / "summary.json", "make fidelity")
    error = summary.get("median_relative_error_of_all")
    said = "is not finite" if error is None else f"is {error:.1%}"
    rows = [
        (f"{load}x", policy, *(_pair(cell, name) for name in _COMPARED))
        for load in sorted(results, key=float)
        for policy, cell in results[load].items()
    ]
    return {
        "missing": "",
        "sentence": f"The same workload on vLLM's real server and in the simulator: the median relative error {said}, "
        f"attainment differs by {summary['attainment_largest_difference'] * 100:.1f} points at most. "
        "Real / simulated:",
        "table": Grid(("load", "policy", *_COMPARED), rows, 2),
        "figures": [_figure(folder / "fidelity.svg", "Real (solid) and simulated (dashed) against load")],
    }


def _pair(cell: Mapping[str, Mapping[str, float]], name: str) -> str:
    return f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" if name in cell else "–"


def _figure(path: Path, title: str) -> dict[str, Any]:
    from markupsafe import Markup

    name = f"figure-{path.parent.name}-{path.stem}"
    try:
        svg = inline(path.read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run what writes its folder anew") from error
    described = svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return {"id": name, "title": title, "svg": Markup(described)}  # noqa: S704 - drawn by the pipeline itself


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; run `{command}`") from error
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: must be a JSON object; run `{command}`")
    return value


def _width(text: str) -> str:
    """What stands in one line on a phone, and what is words that may wrap."""
    return "short" if len(text) < 25 else "long"
