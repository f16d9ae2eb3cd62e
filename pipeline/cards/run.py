"""Stage `cards`: the data cards of all sets as JSON, and the distributions of lengths and durations as plots."""

import csv
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ...data.atomic import atomic_file, write_json
from ...data.tables.files import read_table
from ..project.params import load_params
from ..project.public_sets import load_public_sets
from ..project.trace_sources import DataParams, Source, present_sources
from .card import durations_by_tool, measure_card

REPORTS = Path("reports/cards")
GRID = [index / 20 for index in range(21)]
TOOLS = 4  # tools of a set that are plotted, the most frequent
FEWEST = 20  # calls of a tool to be plotted
SHORTEST_S = 1e-5  # shorter durations are drawn here, on a logarithmic axis

Point = tuple[str, float, float]  # set, share of the values that are at most this, the value


def main() -> None:
    sources = present_sources(load_params("data", DataParams))
    public = load_public_sets()
    cards = {}
    plots: dict[str, list[Point]] = {"prompt_tokens": [], "output_tokens": [], "duration_s": []}
    for source in tqdm(sources, desc="cards", unit="set"):
        card = measure_card(source.name, source.folder, public.get(source.name))
        cards[source.name] = {
            key: value
            for key, value in dataclasses.asdict(card).items()
            if key not in ("name", "licence", "source", "defects")
        }
        turns = read_table(source.folder, "turns")
        plots["prompt_tokens"] += _points(source.name, turns["prompt_tokens"])
        plots["output_tokens"] += _points(source.name, turns["output_tokens"])
        plots["duration_s"] += _durations(source)
    for column, points in plots.items():
        _write_csv(REPORTS / f"{column}.csv", column, points)
    write_json(REPORTS / "metrics.json", cards)


def _points(name: str, values: pa.ChunkedArray) -> Iterator[Point]:
    if len(values) > values.null_count:
        for share, value in zip(GRID, pc.quantile(values, q=GRID).to_pylist(), strict=True):
            yield name, share, value


def _durations(source: Source) -> Iterator[Point]:
    if not any(source.folder.glob("tool_calls*.parquet")):
        return
    calls = read_table(source.folder, "tool_calls")
    for index, (tool, durations) in enumerate(durations_by_tool(calls)):
        if index == TOOLS or len(durations) < FEWEST:
            return
        for name, share, value in _points(f"{source.name}: {tool}", durations):
            yield name, share, max(value, SHORTEST_S)


def _write_csv(path: Path, column: str, points: Iterable[Point]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("set", "share", column))
        writer.writerows((name, f"{share:.2f}", f"{value:.6g}") for name, share, value in points)
