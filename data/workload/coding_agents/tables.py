"""Reads figures.csv and effects.csv. Both name their sources."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from pydantic.types import NonNegativeFloat

from ..model import WorkloadError
from .effects import EFFECTS, Effect, SessionEffects
from .figures import PERCENTS, Kind, Quantiles, Stage, Tool

FIGURES_FILE = Path(__file__).with_name("figures.csv")
EFFECTS_FILE = Path(__file__).with_name("effects.csv")

Figure = Literal[
    "turns", "first_prompt", "shared_prompt", "last_context", "last_output", "kept_share",
    "output", "new_tokens", "pause", "calls", "agents",  # by tool; `agents`: its calls run so many sub-agents
]  # fmt: skip
Key = tuple[str, str, str]  # figure, stage, tool
Row = TypeVar("Row", bound=BaseModel)
Correlation = Annotated[float, Field(ge=-1, le=1)]


class FigureRow(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: str
    figure: Figure
    stage: Literal["", "early", "late"]  # empty: the whole session
    tool: str
    count: PositiveInt
    quantiles: tuple[NonNegativeFloat, ...]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "quantiles": [row.get(f"p{percent}") for percent in PERCENTS]}

    @model_validator(mode="after")
    def _rising(self) -> "FigureRow":
        if list(self.quantiles) != sorted(self.quantiles):
            raise ValueError(f"the quantiles of {self.kind} {self.figure} {self.tool} do not rise")
        return self


class EffectRow(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: str
    effect: Effect
    between: Annotated[float, Field(ge=0, le=1)]
    turns: Correlation
    first_prompt: Correlation
    last_context: Correlation
    tool: Correlation
    output: Correlation
    pause: Correlation


def load_kinds(figures: Path = FIGURES_FILE, effects: Path = EFFECTS_FILE) -> dict[str, Kind]:
    """The kinds of agents by name. Raises WorkloadError for a missing file, and for a missing or impossible figure."""
    quantiles: dict[str, dict[Key, Quantiles]] = {}
    for row in _rows(figures, FigureRow):
        quantiles.setdefault(row.kind, {})[row.figure, row.stage, row.tool] = Quantiles(
            row.count, np.array(row.quantiles)
        )
    shared: dict[str, dict[str, EffectRow]] = {}
    for effect in _rows(effects, EffectRow):
        shared.setdefault(effect.kind, {})[effect.effect] = effect
    try:
        return {name: _kind(name, own, _effects(shared[name])) for name, own in quantiles.items()}
    except KeyError as error:
        raise WorkloadError(f"{figures}, {effects}: no row of {error.args[0]}; restore them from git") from error


def _kind(name: str, rows: Mapping[Key, Quantiles], effects: SessionEffects) -> Kind:
    early, late = _stages(rows)
    return Kind(
        name=name,
        turns=rows["turns", "", ""],
        first_prompt=rows["first_prompt", "", ""],
        shared_prompt=rows.get(("shared_prompt", "", "")),
        last_context=rows["last_context", "", ""],
        last_output=rows["last_output", "", ""],
        early=early,
        late=late,
        kept_share=rows.get(("kept_share", "", "")),
        effects=effects,
    )


def _stages(rows: Mapping[Key, Quantiles]) -> tuple[Stage, Stage]:
    """The stages early and late. A tool of the whole session has the same share of the turns of both.

    A kind without early figures has one stage.
    """
    of = {stage: [_tool(rows, stage, tool) for tool in _names(rows, stage)] for stage in ("", "early", "late")}
    counts = {stage: sum(tool.output.count for tool in tools) for stage, tools in of.items()}
    in_both = of[""]
    stages = []
    for stage in ("early", "late") if of["early"] else ("late", "late"):
        weight = counts[stage] / (counts["early"] + counts["late"])
        turns = [*(tool.output.count for tool in of[stage]), *(weight * tool.output.count for tool in in_both)]
        stages.append(Stage((*of[stage], *in_both), tuple(turns)))
    return stages[0], stages[1]


def _names(rows: Mapping[Key, Quantiles], stage: str) -> list[str]:
    return [tool for figure, of_stage, tool in rows if figure == "pause" and of_stage == stage]


def _tool(rows: Mapping[Key, Quantiles], stage: str, name: str) -> Tool:
    runs_agents = ("agents", stage, name) in rows
    return Tool(
        name=name,
        output=rows["output", stage, name],
        new_tokens=rows["new_tokens", stage, name],
        pause=rows["pause", stage, name],
        calls=rows["agents" if runs_agents else "calls", stage, name],
        runs_agents=runs_agents,
    )


def _effects(rows: Mapping[str, EffectRow]) -> SessionEffects:
    between: dict[Effect, float] = {effect: rows[effect].between for effect in EFFECTS}
    return SessionEffects(between, np.array([[getattr(rows[one], other) for other in EFFECTS] for one in EFFECTS]))


def _rows(path: Path, row_type: type[Row]) -> Iterator[Row]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror}; restore it from git") from error
    for number, line in enumerate(csv.DictReader(lines), 1):
        try:
            yield row_type.model_validate(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "quantiles"
            raise WorkloadError(f"{path}: row {number}: {where}: {first['msg']}; restore it from git") from error
