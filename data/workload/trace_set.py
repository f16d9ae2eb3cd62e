"""A folder of traces as the sessions that may be run of it: those that the split leaves, as far as a context holds."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..tables.splits import Use, assign_uses
from .adjustments import Adjustments
from .model import Session, WorkloadError
from .recorded import RecordedSession, recorded_sessions


@dataclass(frozen=True, slots=True)
class Split:
    """Leaves the sessions of one use, at the shares that training was done with (`prepare` in params.yaml)."""

    use: Use
    validation_share: float
    test_share: float


def read_trace_set(
    folder: Path, split: Split | None, context_tokens: int | None, adjustments: Adjustments
) -> tuple[RecordedSession, ...]:
    """The sessions in order of their start; all of them without a split, whole without a context.

    Raises TraceError for unusable tables, SplitError for too few sessions to split, WorkloadError where none is left.
    """
    sessions = recorded_sessions(folder, adjustments)
    if split is not None:
        sessions = _of_use(folder, sessions, split)
    if context_tokens is None:
        return sessions
    fitted = []
    for session in sessions:
        pieces = fit_context(session.pieces, context_tokens, adjustments)
        if pieces:
            fitted.append(dataclasses.replace(session, pieces=pieces))
    if not fitted:
        raise WorkloadError(
            f"{folder}: none of {len(sessions)} sessions fits a context of {context_tokens} tokens, not even its first "
            "turn; choose a model with a larger context or another set"
        )
    return tuple(fitted)


def _of_use(folder: Path, sessions: tuple[RecordedSession, ...], split: Split) -> tuple[RecordedSession, ...]:
    groups: dict[str, set[str]] = {}
    for session in sessions:
        groups.setdefault(session.source, set()).add(session.group)
    uses = {source: assign_uses(found, split.validation_share, split.test_share) for source, found in groups.items()}
    left = tuple(session for session in sessions if uses[session.source][session.group] == split.use)
    if not left:
        raise WorkloadError(
            f"{folder}: none of {len(sessions)} sessions is left for the use {split.use!r}; gather more or raise "
            "prepare.test_share"
        )
    return left


def fit_context(sessions: tuple[Session, ...], context_tokens: int, adjustments: Adjustments) -> tuple[Session, ...]:
    """Each session, cut before the first turn that the context does not hold; left out if that is its first."""
    fitted = (_fit(session, context_tokens, adjustments) for session in sessions)
    return tuple(session for session in fitted if session is not None)


def _fit(session: Session, context_tokens: int, adjustments: Adjustments) -> Session | None:
    """A client's `max_tokens` has to fit beside the last prompt, and every output within it."""
    kept = past = longest = prompt = 0
    for turn in session.turns:
        longest = max(longest, turn.output_tokens)
        if past + turn.new_tokens + longest > context_tokens:
            break
        prompt = past + turn.new_tokens
        past = prompt + turn.output_tokens
        kept += 1
    if not kept:
        adjustments.left_out_sessions += 1
        return None
    turns = session.turns[:kept]
    if kept < len(session.turns):
        adjustments.cut_sessions += 1
        adjustments.cut_turns += len(session.turns) - kept
        turns = (*turns[:-1], dataclasses.replace(turns[-1], tool_call=None))
    return dataclasses.replace(session, turns=turns, max_tokens=min(session.max_tokens, context_tokens - prompt))
