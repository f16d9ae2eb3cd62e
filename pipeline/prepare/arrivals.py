"""Turns in the order of their arrival, sorted on the disk: memory holds one bucket, then a few turns of each."""

import dataclasses
import io
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from heapq import merge
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...features.past import arrival
from .outcomes import SourceFacts, with_remaining_work
from .training_turns import TrainingTurn, by_model

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHUNK_TURNS = 256


class Arrivals:
    """The turns of all sources, added in buckets of whole sessions, then read by source, model and arrival."""

    def __init__(self, folder: Path) -> None:
        self.sources: dict[str, SourceFacts] = defaultdict(SourceFacts)
        self._folder = folder
        self._runs: dict[tuple[str, str], list[Path]] = defaultdict(list)  # by source and model; each file is sorted

    def add(self, turns: Sequence[TrainingTurn]) -> None:
        by_source: dict[str, list[TrainingTurn]] = defaultdict(list)
        for turn in with_remaining_work(turns):
            self.sources[turn.source].add(turn)
            by_source[turn.source].append(turn)
        for source, own in by_source.items():
            for model, served in by_model(own).items():
                path = self._folder / f"{sum(map(len, self._runs.values()))}.turns"
                _write(path, sorted(served, key=_arrival))
                self._runs[source, model].append(path)

    def of_models(self, source: str) -> Iterator[Iterator[TrainingTurn]]:
        """The turns of each model of the source, models by name."""
        for of, model in sorted(self._runs):
            if of == source:
                yield merge(*map(_read, self._runs[of, model]), key=_arrival)


def _arrival(turn: TrainingTurn) -> tuple[float, str, int]:
    return arrival(turn.past)


def _write(path: Path, turns: Sequence[TrainingTurn]) -> None:
    with pa.output_stream(path, compression="zstd") as stream:
        for start in range(0, len(turns), CHUNK_TURNS):
            _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(turns[start : start + CHUNK_TURNS])


class _Pickler(pickle.Pickler):
    """Dataclasses as calls of their class: Python's own way for those with slots takes five times as long."""

    def reducer_override(self, value: object) -> Any:
        kind = type(value)
        return (kind, _fields(kind)(value)) if dataclasses.is_dataclass(kind) else NotImplemented


@cache
def _fields(kind: "type[DataclassInstance]") -> Callable[[object], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in dataclasses.fields(kind)))


def _read(path: Path) -> Iterator[TrainingTurn]:
    with io.BufferedReader(pa.input_stream(path, compression="zstd")) as stream:
        while stream.peek(1):
            yield from pickle.load(stream)  # noqa: S301  this process wrote it
