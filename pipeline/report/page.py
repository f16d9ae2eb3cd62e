"""The page of all results: self-contained, no network, light and dark, phone and desktop."""

from pathlib import Path
from typing import Any

from ..results.goals import goal_table
from ..results.metrics_file import EvaluationResults, ResultsError, read_results
from ..results.tables import numeric
from ..results.tuning import Selection, tuning_table
from .embedded import read_object
from .sources import evaluation, fidelity, live, policies, predictors

TEMPLATE = "page.html.j2"
TEXTS = ("introduction", "glossary", "papers")
SECTIONS = {
    "headline": "Headline",
    "tuning": "Tuned settings",
    "ablations": "Ablations",
    "figures": "Figures",
    "table": "All policies",
    "goals": "Goals",
    "compare": "Long comparison",
    "model-card": "Predictors",
    "fidelity": "Real server",
    "papers": "The papers",
}
"""Id → title."""
LINE_LENGTH = 25
"""Cells up to this length stay on one line."""


def page(reports: Path, results: EvaluationResults, selection: Selection) -> str:
    """The page as HTML, from the folders `evaluate` and `train` of `reports`, and `compare`, `fidelity`, `live` if any.

    Raises ResultsError for a report that is missing or of another form.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["short"] = lambda text: len(text) <= LINE_LENGTH
    return environment.get_template(TEMPLATE).render(
        sections=SECTIONS,
        texts={name: _text(name) for name in TEXTS},
        numeric=numeric,
        policies=policies(results),
        evaluate=evaluation(reports / "evaluate", results),
        goals={" on ".join(job): goal_table(results, job) for job in results.jobs},
        tuning=tuning_table(results, selection),
        compare=_compare(reports / "compare"),
        predictors=predictors(read_object(reports / "train" / "metrics.json", "dvc repro train")),
        fidelity=fidelity(reports / "fidelity"),
        live=live(reports / "live"),
    )


def _text(name: str) -> Any:
    """A fixed text of the folder texts/, as HTML."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    path = Path(__file__).parent / "texts" / f"{name}.md"
    return Markup(MarkdownIt().render(path.read_text(encoding="utf-8")))  # noqa: S704 - our own text


def _compare(folder: Path) -> dict[str, Any]:
    """The tables of the long comparison, or the reason why there are none."""
    if not (folder / "metrics.json").exists():
        return {"missing": "Not run; `make compare` adds it."}
    try:
        return {"missing": "", **evaluation(folder, read_results(folder / "metrics.json"))}
    except ResultsError as error:  # takes half an hour to make again, so the page goes without
        return {"missing": f"Not shown: {error}."}
