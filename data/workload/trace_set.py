"""The sessions of a folder of traces that may be run: those of one split, cut to the model's context."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..tables.splits import Use, assign_uses
from .adjustments import Adjustments
from .model import Session, Turn, WorkloadError
from .recorded.sessions import RecordedSession, recorded_sessions
from .steady_state import nominal_s


@dataclass(frozen=True, slots=True)
class Split:
    """The sessions of one use, at the shares of the training data (section `prepare` of params.yaml)."""

    use: Use
    validation_share: float
    test_share: float


def read_trace_set(
    folder: Path, split: Split | None, context_tokens: int | None, adjustments: Adjustments
) -> tuple[RecordedSession, ...]:
    """The sessions by their start. Without a split all of them, without a context whole.

    Raises TraceError for unusable tables, SplitError for too few sessions to split, WorkloadError where none is left.
    """
    sessions = recorded_sessions(folder, adjustments)
    if split is not None:
        sessions = _of_use(folder, sessions, split)
    if context_tokens is None:
        return sessions
    fitted = [
        dataclasses.replace(session, session=whole)
        for session in sessions
        for whole in fit_context((session.session,), context_tokens, adjustments)
    ]
    if not fitted:
        raise WorkloadError(
            f"{folder}: the first turns of all {len(sessions)} sessions exceed the context of {context_tokens} tokens; "
            "choose a model with a larger context or another set"
        )
    return tuple(fitted)


def _of_use(folder: Path, sessions: tuple[RecordedSession, ...], split: Split) -> tuple[RecordedSession, ...]:
    groups: dict[str, set[str]] = {}
    for session in sessions:
        groups.setdefault(session.source, set()).add(session.group)
    uses = {source: assign_uses(names, split.validation_share, split.test_share) for source, names in groups.items()}
    left = tuple(session for session in sessions if uses[session.source][session.group] == split.use)
    if not left:
        raise WorkloadError(
            f"{folder}: none of {len(sessions)} sessions is left for the use {split.use!r}; gather more or raise "
            "prepare.test_share"
        )
    return left


def fit_context(sessions: tuple[Session, ...], context_tokens: int, adjustments: Adjustments) -> tuple[Session, ...]:
    """Each session, cut before the first turn that exceeds the context; left out if that is its first turn."""
    fitted = (_fit(session, context_tokens, adjustments) for session in sessions)
    return tuple(session for session in fitted if session is not None)


def _fit(session: Session, context_tokens: int, adjustments: Adjustments) -> Session | None:
    """The last prompt and `max_tokens` must fit together, and `max_tokens` must allow every output."""
    fitting = longest_output = longest_prompt = 0
    for turn, prompt in zip(session.turns, session.prompt_lengths(), strict=True):
        longest_output = max(longest_output, turn.output_tokens)
        if max(longest_prompt, prompt) + longest_output > context_tokens:
            break
        longest_prompt = max(longest_prompt, prompt)
        fitting += 1
    if not fitting:
        adjustments.left_out_sessions += 1
        return None
    turns = tuple(_fit_calls(turn, context_tokens, adjustments) for turn in session.turns[:fitting])
    if fitting < len(session.turns):
        adjustments.cut_sessions += 1
        adjustments.cut_turns += len(session.turns) - fitting
        turns = (*turns[:-1], dataclasses.replace(turns[-1], calls=()))
    return dataclasses.replace(
        session, turns=turns, max_tokens=min(session.max_tokens, context_tokens - longest_prompt)
    )


def _fit_calls(turn: Turn, context_tokens: int, adjustments: Adjustments) -> Turn:
    """The turn with its sub-agents cut. A call whose sub-agent is left out takes the sub-agent's nominal time."""
    if all(call.agent is None for call in turn.calls):
        return turn
    calls = []
    for call in turn.calls:
        agent = None if call.agent is None else _fit(call.agent, context_tokens, adjustments)
        away_s = call.agent.arrival_s + nominal_s(call.agent) if call.agent is not None and agent is None else 0.0
        calls.append(dataclasses.replace(call, agent=agent, duration_s=call.duration_s + away_s))
    return dataclasses.replace(turn, calls=tuple(calls))
