"""The training rows of turns."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...features.past import PastTurn, TurnVectors, vectorize_arrivals
from ...models.learning.training_set import NO_GROUP
from ...models.serving.target import (
    ENDS_IN_TOOL,
    OUTPUT_LENGTH,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TOOL_DURATION,
    Target,
)
from .arrivals import Arrivals
from .outcomes import SourceFacts
from .training_turns import TrainingTurn
from .unknown_tools import renamed, with_new_names


@dataclass(frozen=True, slots=True)
class Example:
    """One training row before the split."""

    target: Target
    source: str
    split_group: str
    group: str
    value: float
    censored: bool
    features: NDArray[np.float32]


def source_examples(
    arrivals: Arrivals, source: str, kept: Callable[[TrainingTurn], bool] = lambda _: True
) -> Iterator[Example]:
    """The rows of the `kept` turns of a source, computed for each model alone, since an engine serves one model.

    Every turn is history, kept or not. A recorded feature vector of this release replaces the computed one. A source
    without a second turn in any session gets no rows of remaining work. Remaining work of open sessions and outputs cut
    at their limit are censored.
    """
    return _examples(arrivals, source, kept, lambda turn: turn, f"prepare {source}")


def unknown_tool_examples(
    arrivals: Arrivals, source: str, kept: Callable[[TrainingTurn], bool] = lambda _: True
) -> Iterator[Example]:
    """The rows of the source's renamed calls (unknown_tools.py); none where nothing is renamed."""
    if not arrivals.sources[source].tools_renamed:
        return iter(())
    rows = _examples(
        arrivals, source, lambda turn: renamed(turn) and kept(turn), with_new_names, f"prepare {source}: unknown tools"
    )
    return (row for row in rows if row.target is TOOL_DURATION)


def _examples(
    arrivals: Arrivals,
    source: str,
    kept: Callable[[TrainingTurn], bool],
    changed: Callable[[TrainingTurn], TrainingTurn],
    title: str,
) -> Iterator[Example]:
    facts = arrivals.sources[source]
    complete_until_s = facts.complete_until_s()
    with tqdm(total=facts.turns, desc=title, unit="turn", unit_scale=True) as bar:
        for served in arrivals.of_models(source):
            for turn, vectors in vectorized(map(changed, _counted(served, bar)), kept):
                if turn.features is not None:
                    vectors = replace(vectors, turn_features=turn.features)
                for target, group, value, censored, features in _rows(turn, vectors, facts, complete_until_s):
                    yield Example(target, source, turn.split_group, group or NO_GROUP, float(value), censored, features)


def _counted(turns: Iterable[TrainingTurn], bar: "tqdm[NoReturn]") -> Iterator[TrainingTurn]:
    for turn in turns:
        bar.update()
        yield turn


def vectorized(
    turns: Iterable[TrainingTurn], kept: Callable[[TrainingTurn], bool]
) -> Iterator[tuple[TrainingTurn, TurnVectors]]:
    """Of turns in the order of their arrival, the `kept` ones, each with its vectors, in the order of their ends."""
    under_way: dict[tuple[str, int], TrainingTurn] = {}

    def arriving() -> Iterator[PastTurn]:
        for turn in turns:
            if kept(turn):
                under_way[turn.past.session_id, turn.past.facts.turn] = turn
            yield turn.past

    def wanted(past: PastTurn) -> bool:
        return (past.session_id, past.facts.turn) in under_way

    for vectors in vectorize_arrivals(arriving(), wanted):
        yield under_way.pop((vectors.past.session_id, vectors.past.facts.turn)), vectors


def _rows(
    turn: TrainingTurn, vectors: TurnVectors, facts: SourceFacts, complete_until_s: float
) -> Iterable[tuple[Target, str | None, float, bool, NDArray[np.float32]]]:
    """A turn's rows: target, group, value, whether it is censored, features."""
    past, last_tool, at_arrival = turn.past, vectors.last_tool, vectors.turn_features
    remaining = turn.remaining if facts.sessions_recorded else None
    went_on = remaining is not None and remaining.censored(complete_until_s)
    if past.finish_s is not None:
        yield OUTPUT_LENGTH, last_tool, past.output_tokens, turn.cut_off, at_arrival
        unsure = turn.cut_off or (remaining is not None and remaining.last and went_on)
        if facts.calls_recorded and (turn.ends_in_tool or not unsure):
            yield ENDS_IN_TOOL, last_tool, turn.ends_in_tool, False, at_arrival
    if remaining is not None:
        yield SESSION_REMAINING, last_tool, remaining.turns, went_on, at_arrival
        yield SESSION_REMAINING_TOKENS, last_tool, remaining.tokens, went_on, at_arrival
    if past.pause is not None:
        for call, features in zip(past.pause.calls, vectors.call_features, strict=False):
            yield TOOL_DURATION, call.tool, call.duration_s, False, features
        if not past.pause.calls:
            yield TOOL_DURATION, None, past.pause.pause_s, False, vectors.call_features[0]
        returned = remaining is None or not remaining.last
        yield TOOL_DURATION, last_tool, past.pause.pause_s, not returned, vectors.expected_call_features
