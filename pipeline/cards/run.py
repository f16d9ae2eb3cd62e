"""Stage `cards`: the data cards of all sets as JSON, and the distributions of lengths and durations as plots."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ...data.atomic import write_json, write_text
from ..project.params import load_params
from ..project.public_sets import load_public_sets
from ..project.trace_sources import DataParams, Source, present_sources
from .card import durations_by_tool, measure_card, read_optional

REPORTS = Path("reports/cards")
GRID = [index / 20 for index in range(21)]
TOOLS = 4  # tools of a set that are plotted, the most frequent
FEWEST = 20  # calls of a tool that is plotted
SHORTEST_S = 1e-5  # shorter durations are drawn here, on a logarithmic axis
_FIXED = ("name", "licence", "source", "defects")  # fields of a card that are not measured

Point = tuple[str, str, str]  # set, share of the values that are at most the value, the value


def main() -> None:
    public = load_public_sets()
    cards = {}
    plots: dict[str, list[Point]] = {"prompt_tokens": [], "output_tokens": [], "duration_s": []}
    for source in tqdm(present_sources(load_params(DataParams)), desc="cards", unit="set"):
        card = dataclasses.asdict(measure_card(source.name, source.folder, public.get(source.name)))
        cards[source.name] = {key: value for key, value in card.items() if key not in _FIXED}
        turns = read_optional(source.folder, "turns")
        plots["prompt_tokens"] += _points(source.name, turns["prompt_tokens"])
        plots["output_tokens"] += _points(source.name, turns["output_tokens"])
        plots["duration_s"] += _durations(source)
    for column, points in plots.items():
        frame = pd.DataFrame(points, columns=["set", "share", column])
        write_text(REPORTS / f"{column}.csv", frame.to_csv(index=False, lineterminator="\n"))
    write_json(REPORTS / "metrics.json", cards)


def _points(name: str, values: pa.ChunkedArray, smallest: float = 0.0) -> Iterator[Point]:
    if len(values) > values.null_count:
        for share, value in zip(GRID, pc.quantile(values, q=GRID).to_pylist(), strict=True):
            yield name, f"{share:.2f}", f"{max(value, smallest):.6g}"


def _durations(source: Source) -> Iterator[Point]:
    for tool, durations in list(durations_by_tool(read_optional(source.folder, "tool_calls")))[:TOOLS]:
        if len(durations) >= FEWEST:
            yield from _points(f"{source.name}: {tool}", durations, SHORTEST_S)
