"""Stage `prepare`: writes a training table for each target, from recorded and generated sessions, split by session."""

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tqdm import tqdm

from ...data.atomic import replace_folder, write_json
from ...data.tables.splits import SPLIT_SEEDS
from ...data.workload.mix import MIX, augmentation_sessions
from ...features.past import TurnVectors, vectorize
from ...models.learning.training_set import (
    NO_GROUP,
    UNKNOWN_TOOLS,
    TrainingError,
    TrainingSet,
    group_counts,
    split_sessions,
    write_training_set,
)
from ...models.serving.target import (
    ENDS_IN_TOOL,
    OUTPUT_LENGTH,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TARGETS,
    TOOL_DURATION,
    Target,
)
from ..project import paths
from ..project.params import BaseParams, SplitShares, load_params
from ..project.trace_sources import DataParams, present_sources
from .mix_turns import mix_turns
from .outcomes import Remaining, remaining_work
from .training_turns import TrainingTurn, by_model, multi_turn, read_training_turns
from .unknown_tools import renamed, with_unknown_tools

logger = logging.getLogger(__name__)

METRICS = Path("reports/prepare/metrics.json")


class PrepareParams(SplitShares, extra="forbid"):
    mix_sessions: int = Field(ge=0)
    mix_rate_per_s: float = Field(gt=0)


@dataclass(frozen=True, slots=True)
class Example:
    """One training row before the split."""

    source: str
    session_id: str
    group: str
    value: float
    censored: bool
    features: NDArray[np.float32]


Examples = dict[str, list[Example]]  # by the name of the table: the target's, or UNKNOWN_TOOLS


def main() -> None:
    seed = load_params(BaseParams).seed
    params = load_params(PrepareParams)
    sources = present_sources(load_params(DataParams))
    turns = read_training_turns([source.folder for source in sources])
    recorded = len(turns)
    rebuilt = sum(turn.features is None for turn in turns)
    if params.mix_sessions:
        sessions = augmentation_sessions(params.mix_sessions, params.mix_rate_per_s, seed + SPLIT_SEEDS["train"])
        progress = tqdm(sessions, desc=f"prepare {MIX}: sessions")
        turns += [turn for session in progress for turn in mix_turns(session)]
    examples: Examples = {target.name: [] for target in TARGETS}
    for source in sorted({turn.source for turn in turns}):
        source_turns = [turn for turn in turns if turn.source == source]
        add_source(examples, source, source_turns)
        add_unknown_tools(examples, source, source_turns)
    tables = split(examples, params, {(turn.source, turn.past.session_id): turn.split_group for turn in turns})

    def fill(folder: Path) -> None:
        for name, data in tables.items():
            write_training_set(folder / f"{name}.parquet", data)

    replace_folder(paths.TRAINING, fill)
    write_json(
        METRICS,
        {
            "rows": {name: group_counts(data) for name, data in tables.items()},
            "censored_rows": {name: _censored_counts(data) for name, data in tables.items()},
            "recorded_turns": recorded,
            "turns_with_rebuilt_features": rebuilt,
            "unfinished_turns": sum(turn.past.finish_s is None for turn in turns),
        },
    )
    logger.info("%d recorded turns, %d with features computed again from the trace", recorded, rebuilt)


def add_source(examples: Examples, source: str, turns: Sequence[TrainingTurn]) -> None:
    """Add the rows of one source, computed for each model alone, since an engine serves one model.

    A recorded feature vector of this release replaces the computed one. A source without a second turn in any session
    gets no rows of remaining work. Remaining work of open sessions and outputs cut at their limit are censored.
    """
    turn_by_key = {(turn.past.session_id, turn.past.facts.turn): turn for turn in turns}
    remaining: Mapping[tuple[str, int], Remaining] = remaining_work(turns) if multi_turn(turns) else {}
    per_model = (vectorize(turn.past for turn in served) for served in by_model(turns))
    all_vectors = itertools.chain.from_iterable(per_model)
    for vectors in tqdm(all_vectors, total=len(turns), desc=f"prepare {source}", unit="turn"):
        key = vectors.past.session_id, vectors.past.facts.turn
        turn = turn_by_key[key]
        if turn.features is not None:
            vectors = replace(vectors, turn_features=turn.features)
        for target, group, value, censored, features in _rows(turn, vectors, remaining.get(key)):
            examples[target.name].append(
                Example(source, turn.past.session_id, group or NO_GROUP, float(value), censored, features)
            )


def add_unknown_tools(examples: Examples, source: str, turns: Sequence[TrainingTurn]) -> None:
    """Add the rows of the source's renamed calls (unknown_tools.py)."""
    sessions = {turn.past.session_id for turn in turns if renamed(turn)}
    if not any(turn.past.session_id in sessions and turn.past.pause is not None for turn in turns):
        return
    renamed_examples: Examples = {target.name: [] for target in TARGETS}
    add_source(renamed_examples, source, with_unknown_tools(turns))
    rows = [row for row in renamed_examples[TOOL_DURATION.name] if row.session_id in sessions]
    examples.setdefault(UNKNOWN_TOOLS, []).extend(rows)


def _rows(
    turn: TrainingTurn, vectors: TurnVectors, remaining: Remaining | None
) -> Iterable[tuple[Target, str | None, float, bool, NDArray[np.float32]]]:
    """A turn's rows: target, group, value, whether it is censored, features."""
    past, last_tool, at_arrival = turn.past, vectors.last_tool, vectors.turn_features
    if past.finish_s is not None:
        yield OUTPUT_LENGTH, last_tool, past.output_tokens, turn.cut_off, at_arrival
        unsure = turn.cut_off or (remaining is not None and remaining.last and remaining.censored)
        if turn.ends_in_tool is not None and (turn.ends_in_tool or not unsure):
            yield ENDS_IN_TOOL, last_tool, turn.ends_in_tool, False, at_arrival
    if remaining is not None:
        yield SESSION_REMAINING, last_tool, remaining.turns, remaining.censored, at_arrival
        yield SESSION_REMAINING_TOKENS, last_tool, remaining.tokens, remaining.censored, at_arrival
    if past.pause is not None:
        for call, features in zip(past.pause.calls, vectors.call_features, strict=False):
            yield TOOL_DURATION, call.tool, call.duration_s, False, features
        if not past.pause.calls:
            yield TOOL_DURATION, None, past.pause.pause_s, False, vectors.call_features[0]
        returned = remaining is None or not remaining.last
        yield TOOL_DURATION, last_tool, past.pause.pause_s, not returned, vectors.expected_call_features


def split(examples: Examples, params: PrepareParams, groups: Mapping[tuple[str, str], str]) -> dict[str, TrainingSet]:
    """The tables by name; a session is in the same part in all of them. Raises TrainingError for an empty table."""
    for name, rows in examples.items():
        if not rows:
            raise TrainingError(
                f"{name}: the traces hold no row to learn it from; gather more or raise prepare.mix_sessions"
            )
    keys = {(row.source, row.session_id) for rows in examples.values() for row in rows}
    parts = split_sessions(keys, params.validation_share, params.test_share, groups)
    targets = {target.name: target for target in TARGETS} | {UNKNOWN_TOOLS: TOOL_DURATION}
    return {name: _table(target, examples[name], parts, groups) for name, target in targets.items() if name in examples}


def _table(
    target: Target,
    rows: Sequence[Example],
    parts: Mapping[tuple[str, str], str],
    groups: Mapping[tuple[str, str], str],
) -> TrainingSet:
    return TrainingSet(
        target=target,
        rows=np.stack([row.features for row in rows]),
        values=np.array([row.value for row in rows]),
        sources=np.array([row.source for row in rows]),
        sessions=np.array([groups.get((row.source, row.session_id), row.session_id) for row in rows]),
        parts=np.array([parts[row.source, row.session_id] for row in rows]),
        groups=np.array([row.group for row in rows]),
        censored=np.array([row.censored for row in rows], np.bool_),
    )


def _censored_counts(data: TrainingSet) -> dict[str, Any]:
    return {source: int(data.censored[data.sources == source].sum()) for source in np.unique(data.sources).tolist()}
