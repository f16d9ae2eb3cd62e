"""A target's training rows as a Parquet table: features at one moment, and the later value."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...data.atomic import atomic_file
from ...data.one_line import one_line
from ...data.tables.splits import Part as Part
from ...data.tables.splits import assign_parts
from ...features import feature
from ..serving.predictor import Rows
from ..serving.target import TOOL_DURATION, Target
from ..serving.tool_tables import NO_TOOL

PARTS: tuple[Part, ...] = ("train", "validation", "test")
NO_GROUP = NO_TOOL  # the group of a row before any tool call
UNKNOWN_TOOLS = f"{TOOL_DURATION.name}_unknown"
"""Name of the table whose tool calls are renamed, so that no tool is known."""
_ARRAYS = ("rows", "values", "sources", "sessions", "parts", "groups", "censored")
_COLUMNS: dict[str, pa.DataType] = {
    "source": pa.string(),
    "session_id": pa.string(),
    "part": pa.string(),
    "group": pa.string(),
    "value": pa.float64(),
    "censored": pa.bool_(),
    "features": pa.list_(pa.float32()),
}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()])


class TrainingError(ValueError):
    """Training data are unusable; the message names the file or target, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows of one target: `rows` of shape (n, features), NaN for unknown features; all other arrays of shape (n,).

    `values` are in the target's unit. `censored`: the value is only a lower bound. `groups`: the tool, for baselines.
    `sessions`: the split group, so that neither parts nor folds divide the pieces of one session.
    """

    target: Target
    rows: Rows
    values: NDArray[np.float64]
    sources: NDArray[np.str_]
    sessions: NDArray[np.str_]
    parts: NDArray[np.str_]
    groups: NDArray[np.str_]
    censored: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count, shape = len(self.values), (len(self.values), len(self.target.features))
        binary = self.target.kind == "probability"
        wrong_values = ~(np.isin(self.values, (0, 1)) if binary else np.isfinite(self.values) & (self.values >= 0))
        problem = None
        if self.rows.shape != shape:
            problem = f"features of shape {self.rows.shape}, expected {shape}; prepare the data again"
        elif not count:
            problem = "no rows to learn from; gather more traces or raise prepare.mix_sessions"
        elif wrong_values.any():
            rule = "neither 0 nor 1" if binary else "NaN, infinite or negative"
            problem = f"{np.count_nonzero(wrong_values)} of {count} values are {rule}; correct the traces"
        elif np.isinf(self.rows).any():
            problem = "infinite features; correct the traces"
        if problem:
            raise TrainingError(f"{self.target.name}: {problem}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each row, mean 1. A source weighs with the root of its size.

        So a large source does not drown a small one, and the models do not overfit the rows of a small one.
        """
        _, index, counts = np.unique(self.sources, return_inverse=True, return_counts=True)
        weights = (1 / np.sqrt(counts))[index]
        return np.asarray(weights / weights.mean(), np.float64)

    def select(self, mask: NDArray[np.bool_]) -> "TrainingSet":
        """The rows selected by `mask`. Raises TrainingError if there are none."""
        return TrainingSet(self.target, **{name: getattr(self, name)[mask] for name in _ARRAYS})

    def joined(self, other: "TrainingSet") -> "TrainingSet":
        """These rows, then those of `other`, of the same target."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _ARRAYS}
        return TrainingSet(self.target, **{name: np.concatenate(pair) for name, pair in pairs.items()})

    def part(self, part: Part) -> "TrainingSet":
        """The rows of one part of the split. Raises TrainingError if there are none."""
        mask = self.parts == part
        if not mask.any():
            raise TrainingError(f"{self.target.name}: no rows in the {part} part; gather more sessions")
        return self.select(mask)


def split_sessions(
    sessions: Iterable[tuple[str, str]],
    validation_share: float,
    test_share: float,
    groups: Mapping[tuple[str, str], str] | None = None,
) -> Mapping[tuple[str, str], Part]:
    """Assign each (source, session id) to a part, source by source, by the rule of data/tables/splits.py.

    Sessions of one split group (`groups`, by source and session; by default the session itself) are in one part. Every
    source has at least one group in each part. Raises TrainingError for a source with fewer than three groups.
    """
    groups_by_source: dict[str, dict[str, str]] = {}
    for source, session in sessions:
        groups_by_source.setdefault(source, {})[session] = (groups or {}).get((source, session), session)
    parts: dict[tuple[str, str], Part] = {}
    for source, group_of in sorted(groups_by_source.items()):
        if (count := len(set(group_of.values()))) < len(PARTS):
            raise TrainingError(
                f"source {source!r} has {count} sessions, fewer than 3 (train, validation, test); record more, or "
                "remove it from data.sources in params.yaml"
            )
        part_of = assign_parts(group_of.values(), validation_share, test_share)
        parts.update({(source, session): part_of[group] for session, group in group_of.items()})
    return parts


def write_training_set(path: Path, data: TrainingSet) -> None:
    """Write atomically as Parquet, with the feature names and version in the metadata."""
    with atomic_file(path) as temporary, training_writer(temporary, data.target) as writer:
        writer.write_table(training_table(data))


def training_writer(path: Path, target: Target) -> pq.ParquetWriter:
    """A writer of `training_table`s, to use in a `with` statement."""
    return pq.ParquetWriter(path, SCHEMA.with_metadata(_metadata(target)), compression="zstd")


def training_table(data: TrainingSet) -> pa.Table:
    """The rows in the columns of SCHEMA."""
    columns = (data.sources, data.sessions, data.parts, data.groups, data.values, data.censored)
    offsets = np.arange(len(data) + 1, dtype=np.int32) * data.rows.shape[1]
    features = pa.ListArray.from_arrays(pa.array(offsets), pa.array(data.rows.reshape(-1)))
    table = pa.table([*(pa.array(column) for column in columns), features], schema=SCHEMA)
    return table.replace_schema_metadata(_metadata(data.target))


def read_training_set(path: Path, target: Target) -> TrainingSet:
    """Raises TrainingError for an unreadable file, other columns, or features of another release."""
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(
            f"{path}: not a readable training table: {one_line(error)}; run `dvc repro prepare`"
        ) from error
    if table.schema.names != SCHEMA.names or (table.schema.metadata or {}) != _metadata(target):
        raise TrainingError(f"{path}: made for another target, feature version or release; run `dvc repro prepare`")
    return training_set_of(table, target, str(path))


def training_set_of(table: pa.Table, target: Target, where: str) -> TrainingSet:
    """The rows of a `training_table`, which is at `where`. Raises TrainingError for rows that do not fit the target."""
    lists = table.column("features").combine_chunks()
    width = len(target.features)
    widths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if lists.null_count or lists.values.null_count or (widths != width).any():
        raise TrainingError(f"{where}: a row has not {width} features; run `dvc repro prepare`")
    rows = lists.values.to_numpy(zero_copy_only=False).reshape(-1, width)
    values, censored = table.column("value").to_numpy(), table.column("censored").to_numpy()
    source, session, part, group = (
        np.array(table.column(name).to_pylist(), np.str_) for name in ("source", "session_id", "part", "group")
    )
    return TrainingSet(target, rows, values, source, session, part, group, censored)


def read_training_sets(folder: Path, targets: Iterable[Target]) -> list[TrainingSet]:
    """The tables of `targets`. Raises TrainingError as read_training_set."""
    return [read_training_set(folder / f"{target.name}.parquet", target) for target in targets]


def read_unknown_tools(folder: Path) -> TrainingSet | None:
    """The table of renamed tool calls; None if `prepare` renamed none. Raises TrainingError as read_training_set."""
    path = folder / f"{UNKNOWN_TOOLS}.parquet"
    return read_training_set(path, TOOL_DURATION) if path.is_file() else None


def group_counts(data: TrainingSet) -> dict[str, dict[str, int]]:
    """Number of rows by source and part."""
    counts: dict[str, dict[str, int]] = {}
    for (source, part), count in sorted(Counter(zip(data.sources.tolist(), data.parts.tolist(), strict=True)).items()):
        counts.setdefault(source, {})[part] = count
    return counts


def _metadata(target: Target) -> dict[bytes, bytes]:
    names = json.dumps([part.name for part in target.features])
    return {
        b"augserve.features": names.encode(),
        b"augserve.features_version": str(feature.VERSION).encode(),
        b"augserve.target": target.name.encode(),
    }
