"""Stage `prepare`: traces joined into one training table a target, through features/, split by session."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.atomic import replace_folder, write_json
from ..data.mix import augmentation_sessions
from ..data.tokens import SPLIT_SEEDS, session_token_ids
from ..data.workload import Session
from ..features.replay import PastCall, PastTurn, Replayed, replay
from ..features.turn import TAIL_TOKENS, TurnFacts
from ..models.target import (
    ENDS_IN_TOOL,
    OUTPUT_LENGTH,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TARGETS,
    TOOL_DURATION,
    Target,
)
from ..models.training_set import (
    NO_GROUP,
    TrainingError,
    TrainingSet,
    group_counts,
    split_sessions,
    write_training_set,
)
from .params import BaseParams, load_params, require
from .past import RecordedTurn, read_traces
from .sources import DataParams, present_sources
from .stage import run_stage

logger = logging.getLogger(__name__)

TRAINING = Path("data/training")
METRICS = Path("reports/prepare/metrics.json")
MIX = "augmentation-mix"
MIX_TEMPERATURE = 1.0  # vLLM's default, which the simulator's requests keep
NOMINAL_TOKEN_S = 0.02  # pace of a generated session's output; it only orders what several sessions learn of a tool


@dataclass(frozen=True, slots=True)
class PrepareParams:
    mix_sessions: int
    mix_rate_per_s: float
    validation_share: float
    test_share: float

    def __post_init__(self) -> None:
        require(self.mix_sessions >= 0, "prepare.mix_sessions", self.mix_sessions, "0 or more")
        require(self.mix_rate_per_s > 0, "prepare.mix_rate_per_s", self.mix_rate_per_s, "positive")
        require(0 < self.validation_share < 0.5, "prepare.validation_share", self.validation_share, "in (0, 0.5)")
        require(0 < self.test_share < 0.5, "prepare.test_share", self.test_share, "in (0, 0.5)")


@dataclass(frozen=True, slots=True)
class Example:
    """One training row before the split."""

    source: str
    session_id: str
    group: str
    value: float
    features: NDArray[np.float32]


Examples = dict[str, list[Example]]  # by the target's name


def main() -> None:
    seed = load_params("base", BaseParams).seed
    params = load_params("prepare", PrepareParams)
    examples: Examples = {target.name: [] for target in TARGETS}
    recorded = read_traces([source.folder for source in present_sources(load_params("data", DataParams))])
    for source in sorted({turn.source for turn in recorded}):
        _add_recorded(examples, source, [turn for turn in recorded if turn.source == source])
    if params.mix_sessions:
        sessions = augmentation_sessions(params.mix_sessions, params.mix_rate_per_s, seed + SPLIT_SEEDS["train"])
        _add_mix(examples, sessions)
    sets = split(examples, params)

    def fill(folder: Path) -> None:
        for data in sets:
            write_training_set(folder / f"{data.target.name}.parquet", data)

    replace_folder(TRAINING, fill)
    rebuilt = sum(turn.features is None for turn in recorded)
    write_json(
        METRICS,
        {
            "rows": {data.target.name: group_counts(data) for data in sets},
            "recorded_turns": len(recorded),
            "turns_with_rebuilt_features": rebuilt,
            "unfinished_turns": sum(turn.past.finish_s is None for turn in recorded),
        },
    )
    if rebuilt:
        logger.warning(
            "%d of %d turns have no features of this version: rebuilt without the tail", rebuilt, len(recorded)
        )


def _add_recorded(examples: Examples, source: str, turns: Sequence[RecordedTurn]) -> None:
    """Rows of one recorded source. A turn's vector is the recorder's where it has this release's features."""
    features = {(turn.past.session_id, turn.past.facts.turn): turn for turn in turns}
    remaining = remaining_turns([turn.past for turn in turns])
    progress = tqdm(replay(turn.past for turn in turns), total=len(turns), desc=f"prepare {source}", unit="turn")
    for replayed in progress:
        key = replayed.past.session_id, replayed.past.facts.turn
        replayed.turn_features = features[key].known_features(replayed.turn_features)
        _add(examples, source, replayed, remaining.get(key))


def _add_mix(examples: Examples, sessions: Sequence[Session]) -> None:
    """Rows of generated sessions: no turn waits for another session, so that only the mix itself is learned."""
    turns = [turn for session in tqdm(sessions, desc=f"prepare {MIX}: sessions") for turn in mix_turns(session)]
    remaining = remaining_turns(turns)
    for replayed in tqdm(replay(turns), total=len(turns), desc=f"prepare {MIX}: turns", unit="turn"):
        _add(examples, MIX, replayed, remaining[replayed.past.session_id, replayed.past.facts.turn])


def mix_turns(session: Session) -> Iterator[PastTurn]:
    """A generated session as turns of the past, at a nominal pace, with the token ids that the simulator uses."""
    token_ids = session_token_ids(session)
    arrival_s = session.arrival_s
    for index, turn in enumerate(session.turns):
        prompt_tokens = session.prompt_tokens(index)
        facts = TurnFacts(
            prompt_tokens=prompt_tokens,
            turn=index,
            max_tokens=session.max_tokens,
            temperature=MIX_TEMPERATURE,
            structured=False,
            tools_offered=session.tools_offered,
            tail_token_ids=token_ids[max(prompt_tokens - TAIL_TOKENS, 0) : prompt_tokens],
        )
        finish_s = arrival_s + NOMINAL_TOKEN_S * turn.output_tokens
        call = None
        if turn.tool_call is not None:
            duration_s = turn.tool_call.duration_s
            call = PastCall(turn.tool_call.tool, finish_s + duration_s, duration_s)
        yield PastTurn(session.session_id, facts, arrival_s, finish_s, turn.output_tokens, call)
        arrival_s = finish_s if call is None else call.return_s


def remaining_turns(turns: Sequence[PastTurn]) -> dict[tuple[str, int], int]:
    """Turns still to come, the present one counted, by session and turn; nothing of a session that did not finish."""
    last: dict[str, PastTurn] = {}
    for turn in turns:
        if turn.session_id not in last or turn.facts.turn > last[turn.session_id].facts.turn:
            last[turn.session_id] = turn
    return {
        (turn.session_id, turn.facts.turn): last[turn.session_id].facts.turn - turn.facts.turn + 1
        for turn in turns
        if last[turn.session_id].finish_s is not None
    }


def _add(examples: Examples, source: str, replayed: Replayed, remaining: int | None) -> None:
    past, group = replayed.past, replayed.last_tool or NO_GROUP

    def add(target: Target, group: str, value: float, features: NDArray[np.float32]) -> None:
        examples[target.name].append(Example(source, past.session_id, group, value, features))

    if past.finish_s is not None:
        add(OUTPUT_LENGTH, group, float(past.output_tokens), replayed.turn_features)
        add(ENDS_IN_TOOL, group, float(past.call is not None), replayed.turn_features)
    if remaining is not None:
        add(SESSION_REMAINING, group, float(remaining), replayed.turn_features)
        add(SESSION_REMAINING_TOKENS, group, float(remaining), replayed.turn_features)
    if past.call is not None and replayed.call_features is not None:
        add(TOOL_DURATION, past.call.tool or NO_GROUP, past.call.duration_s, replayed.call_features)
        add(TOOL_DURATION, group, past.call.duration_s, replayed.expected_call_features)


def split(examples: Examples, params: PrepareParams) -> list[TrainingSet]:
    """One table a target; a session is in the same part in all of them. Raises TrainingError for an empty one."""
    for name, rows in examples.items():
        if not rows:
            raise TrainingError(
                f"{name}: the traces hold no row to learn it from; gather more or raise prepare.mix_sessions"
            )
    keys = {(row.source, row.session_id) for rows in examples.values() for row in rows}
    parts = split_sessions(keys, params.validation_share, params.test_share)
    return [
        TrainingSet(
            target=target,
            rows=np.stack([row.features for row in examples[target.name]]),
            values=np.array([row.value for row in examples[target.name]]),
            sources=np.array([row.source for row in examples[target.name]]),
            sessions=np.array([row.session_id for row in examples[target.name]]),
            parts=np.array([parts[row.source, row.session_id] for row in examples[target.name]]),
            groups=np.array([row.group for row in examples[target.name]]),
            censored=np.zeros(len(examples[target.name]), np.bool_),
        )
        for target in TARGETS
    ]


if __name__ == "__main__":
    run_stage(main)
