"""The marginals by which drawn and recorded sessions are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from augserve.data.workload.model import Session

from .aggregate import between, standard

Values = NDArray[np.float64]


def _turns(sessions: Sequence[Session]) -> list[float]:
    return [len(session.turns) for session in sessions]


def _first_prompts(sessions: Sequence[Session]) -> list[float]:
    return [session.prompt_tokens(0) for session in sessions]


def _new_tokens(sessions: Sequence[Session]) -> list[float]:
    return [turn.new_tokens for session in sessions for turn in session.turns[1:]]


def _outputs(sessions: Sequence[Session]) -> list[float]:
    return [turn.output_tokens for session in sessions for turn in session.turns]


def _pauses(sessions: Sequence[Session]) -> list[float]:
    """Seconds; without the turns that ran sub-agents."""
    return [pause for own in _pauses_by_session(sessions) for pause in own]


def _last_contexts(sessions: Sequence[Session]) -> list[float]:
    return [session.prompt_lengths()[-1] + session.turns[-1].output_tokens for session in sessions]


def _agents(sessions: Sequence[Session]) -> list[float]:
    return [len(list(session.agents)) for session in sessions]


def _kept_shares(sessions: Sequence[Session]) -> list[float]:
    """1 where a turn keeps its whole context."""
    return [share for session in sessions for share in _kept_of(session)]


def _kept_of(session: Session) -> Iterator[float]:
    contexts = [
        prompt + turn.output_tokens for prompt, turn in zip(session.prompt_lengths(), session.turns, strict=True)
    ]
    for context, turn in zip(contexts, session.turns[1:], strict=False):
        yield 1.0 if turn.kept_tokens is None else turn.kept_tokens / context


def _calls(sessions: Sequence[Session]) -> list[float]:
    return [len(turn.calls) for session in sessions for turn in session.turns[:-1]]


MARGINALS: Mapping[str, Callable[[Sequence[Session]], list[float]]] = MappingProxyType(
    {
        "turns of a session": _turns,
        "first prompt, tokens": _first_prompts,
        "new tokens of a turn": _new_tokens,
        "output tokens of a turn": _outputs,
        "pause after a turn, s": _pauses,
        "last context, tokens": _last_contexts,
        "parallel calls of a turn": _calls,
        "share of the context kept by a turn": _kept_shares,
        "sub-agents of a session": _agents,
    }
)


def pause_between_share(sessions: Sequence[Session]) -> float:
    """The share of the variance of log pauses that lies between sessions."""
    pauses = _pauses_by_session(sessions)
    owners = np.repeat(np.arange(len(pauses)), [len(own) for own in pauses])
    logs = standard(np.log(np.maximum(np.concatenate(pauses), 1e-3)))
    return between(logs, logs, owners)


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest distance of the two distributions."""
    values = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _pauses_by_session(sessions: Sequence[Session]) -> list[list[float]]:
    return [
        [turn.tools_s for turn in session.turns if turn.calls and all(call.agent is None for call in turn.calls)]
        for session in sessions
    ]
