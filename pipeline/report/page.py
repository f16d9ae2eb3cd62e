"""One self-contained page of all that the pipeline found: no request leaves it; light and dark; phone and desktop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.workload.mix import MIX_SWING
from ..results.grid import Grid
from ..results.metrics_file import Evaluated, ResultsError, read_results
from ..results.tables import ORDER, ablations, cells, units
from ..results.targets import outcomes, target_grid
from ..results.tuning import Selection, longest_waits, over_tuning
from ..results.words import at_load, sentence, worth
from .embedded import figure, read_object
from .glossary import INTRODUCTION, POLICIES, PREDICTED, WORDS
from .headline import headline, where
from .papers import CLAIMS, DIFFERENCES
from .served import fidelity, live

TEMPLATE = "page.html.j2"
SECTIONS = (
    ("headline", "Headline"),
    ("targets", "Targets"),
    ("table", "All policies"),
    ("ablations", "What each part is worth"),
    ("figures", "Figures"),
    ("compare", "Long comparison"),
    ("model-card", "Predictors"),
    ("fidelity", "Real server"),
    ("differences", "The papers"),
)
"""The sections' ids, which links and tests hold on to, and their names."""
FIGURES = {
    "goodput": "Turns in time a second against load",
    "attainment": "Share of turns in time against load",
    "ttft": "Time to first token at the load of the headline",
    "steps": "Token budget and KV cache over time at the load of the headline",
    "waiting": "Waiting for the first token by type of session at the load of the headline",
}
_PREDICTED = ("kendall_tau", "mae", "mae_baseline", "coverage_80")


@dataclass(frozen=True, slots=True)
class Sources:
    """Folders of reports/ that the page shows, of which the last three may be missing, and what tuning chose."""

    evaluate: Path
    train: Path
    compare: Path
    fidelity: Path
    live: Path
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
        introduction=INTRODUCTION,
        words=list(WORDS.items()),
        policies=_named(found),
        report=report,
        tuning=[text for text in (over_tuning(found, selection), longest_waits(found, selection)) if text],
        compare=_compare(sources.compare),
        predictors=predictors(read_object(sources.train / "metrics.json", "dvc repro train")),
        fidelity=fidelity(sources.fidelity),
        live=live(sources.live),
        claims=list(CLAIMS.items()),
        differences=list(DIFFERENCES.items()),
    )


def predictors(metrics: Mapping[str, Any]) -> Grid:
    """A row a set and target. Sets without a figure that is shown are left out."""
    rows = []
    for source, targets in sorted(metrics.items()):
        for target, found in sorted(targets.items()) if isinstance(targets, Mapping) else ():
            if isinstance(found, Mapping) and "mae" in found:
                figures = (f"{found[name]:.3g}" if name in found else "–" for name in _PREDICTED)
                rows.append((str(source), str(PREDICTED.get(target, target)), *figures))
    return Grid(("set", "what is predicted", "Kendall's τ", "MAE", "MAE of the baseline", "coverage"), rows, 2)


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
            (_title(found, workload, profile), target_grid(known))
            for workload, profile in jobs
            if (known := outcomes(found, workload, profile))
        ],
        "parts": [
            {
                "title": _title(found, of_workload, of_profile),
                "note": units(found, of_workload, of_profile),
                "cells": cells(by_load),
            }
            for of_workload, of_profile, by_load in found.tables()
        ],
        "ablations": [
            (where(found, of_workload, of_profile), table)
            for of_workload, of_profile, _ in found.tables()
            if (table := ablations(found, of_workload, of_profile)) is not None
        ],
        "figures": [figure(folder / f"{name}.svg", title) for name, title in FIGURES.items()],
    }


def _compare(folder: Path) -> dict[str, Any]:
    if not (folder / "metrics.json").exists():
        return {"missing": "Every rival on more workloads, engines, loads and seeds: `make compare` adds it here."}
    try:
        return {"missing": "", **_evaluated(folder, read_results(folder / "metrics.json"))}
    except ResultsError as error:  # what takes hours to make again is not asked for by the pipeline
        return {"missing": f"Not shown: {error}."}


def _title(found: Evaluated, workload: str, profile: str) -> str:
    """The loads of a swing are its means."""
    text = f"{workload} on {profile}"
    if workload != MIX_SWING:
        return text
    load = found.main_load(workload, profile)
    return f"{text}, {at_load(workload, load)}: {load}× in the mean"


def _named(found: Evaluated) -> list[tuple[str, str]]:
    """What the policies that ran anywhere stand for, as tables list them."""
    ran = {policy for _, _, by_load in found.tables() for cells_at in by_load.values() for policy in cells_at}
    return [(policy, POLICIES[policy]) for policy in ORDER if policy in ran]


def _width(text: str) -> str:
    """What stands in one line on a phone, and what is words that may wrap."""
    return "short" if len(text) < 25 else "long"
