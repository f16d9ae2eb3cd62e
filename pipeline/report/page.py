"""The page of all results: Markdown documents and SVG figures in one self-contained HTML file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..results.columns import NONE
from ..results.metrics_file import ResultsError
from ..results.tables import markdown
from .drawings import figures

TEMPLATE = "page.html.j2"
EVALUATION_FIGURES = {
    "agents": "Steps per minute and SLO attainment against the number of agents",
    "pareto": "Steps per minute against interactivity; a point is named by its number of agents",
    "goodput": "Goodput against load",
    "attainment": "SLO attainment against load",
    "ttft": "Distribution of the TTFT at the main load",
    "steps": "Token budget and KV cache usage over time at the main load",
    "waiting": "TTFT p90 by kind of session at the main load",
}
TUNING_FIGURES = {"pareto": "Score against the longest wait", "importance": "Importance of each parameter"}
FIDELITY_FIGURES = {"fidelity": "Real (solid) and simulated (dashed) values against load"}
PREDICTED = {
    "output_length": "output of a turn, tokens",
    "session_remaining": "turns left in the session, this turn included",
    "session_remaining_tokens": "tokens of the turns left",
    "tool_duration": "duration of a tool call, s",
}
"""Target of a model → its meaning."""
ENGINE_METRICS = {
    "nearest": ("fitted from", "{}"),
    "factor": ("its times ×", "{:.3g}"),
    "steps": ("steps", "{:,.0f}"),
    "median_relative_error": ("median error", "{:.1%}"),
    "kv_tokens": ("KV cache, tokens", "{:,}"),
}
"""Metric of a profile → title and format of its column."""
PREDICTOR_METRICS = {
    "kendall_tau": "Kendall's τ",
    "mae": "MAE",
    "mae_baseline": "baseline MAE",
    "coverage_80": "coverage",
}


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    html: Any  # markupsafe.Markup
    figures: Sequence[Mapping[str, Any]] = ()


def page(reports: Path, headline: str, policies: str) -> str:
    """The page as HTML, from the Markdown of its `headline` and `policies` and from the folders of `reports`.

    The folders compare, fidelity and live are optional. Raises ResultsError for any other report that is missing.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    evaluate, tune, compare = reports / "evaluate", reports / "tune", reports / "compare"
    fidelity, live = reports / "fidelity", reports / "live"
    predicted = markdown(predictors(json.loads(read_text(reports / "train" / "metrics.json"))))
    timed = markdown(engines(json.loads(read_text(reports / "profile" / "metrics.json"))))
    simulated = optional_figures(fidelity, FIDELITY_FIGURES)
    sections = [
        Section("headline", "Headline", html(headline)),
        Section("figures", "Figures", "", figures(evaluate, EVALUATION_FIGURES)),
        Section("table", "All results", html(read_text(evaluate / "table.md"))),
        Section("policies", "Policies", html(policies)),
        Section("tuning", "Tuning", html(read_text(tune / "table.md")), figures(tune, TUNING_FIGURES)),
        Section("compare", "Long comparison", html(optional(compare)), optional_figures(compare, EVALUATION_FIGURES)),
        Section("predictors", "Predictors", html(text("predictors"), predicted)),
        Section("engines", "Engines", html(text("engines"), timed)),
        Section("fidelity", "Simulator", html(text("fidelity"), optional(fidelity)), simulated),
        Section("live", "Real server", html(text("live"), optional(live))),
        Section("papers", "The papers", html(text("papers"))),
    ]
    introduction, glossary = html(text("introduction")), html(text("glossary"))
    return environment.get_template(TEMPLATE).render(sections=sections, introduction=introduction, glossary=glossary)


def html(*documents: str) -> Any:
    """Markdown as HTML: headings one level lower, tables that scroll inside the page, rows of AugServe marked."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render("\n\n".join(documents))
    rendered = re.sub(r"(</?h)(\d)>", lambda match: f"{match[1]}{int(match[2]) + 1}>", rendered)
    rendered = rendered.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    rendered = re.sub(
        r"<tr>(\n(?:<td[^>]*>\d+</td>\n)?<td[^>]*>(?:augserve|AugServe)</td>)", r'<tr class="ours">\1', rendered
    )
    return Markup(rendered)  # noqa: S704 - raw HTML in the Markdown is escaped


def text(name: str) -> str:
    """A fixed text of the folder texts/."""
    return (Path(__file__).parent / "texts" / f"{name}.md").read_text(encoding="utf-8")


def read_text(path: Path) -> str:
    """Raises ResultsError where the file is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; run `dvc repro {path.parent.name}`") from error


def optional(folder: Path) -> str:
    """The tables of a report that only a `make` target writes, or the name of the target."""
    path = folder / "table.md"
    return read_text(path) if path.exists() else f"Not run; `make {folder.name}` adds the results."


def optional_figures(folder: Path, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    return figures(folder, {name: title for name, title in titles.items() if (folder / f"{name}.svg").exists()})


def predictors(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """One row a set and target that has a mean absolute error."""
    rows = [
        {"set": source, "predicts": PREDICTED.get(target, target)}
        | {title: f"{values[name]:.3g}" if name in values else NONE for name, title in PREDICTOR_METRICS.items()}
        for source, targets in sorted(metrics.items())
        for target, values in (sorted(targets.items()) if isinstance(targets, Mapping) else ())
        if isinstance(values, Mapping) and "mae" in values
    ]
    return pd.DataFrame(rows)


def engines(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """One row a profile."""
    return pd.DataFrame(
        {"engine": name}
        | {title: form.format(values[key]) if key in values else NONE for key, (title, form) in ENGINE_METRICS.items()}
        for name, values in sorted(metrics.items())
    )
