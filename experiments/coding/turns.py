"""Facts of each turn of recorded sessions, as figures.csv counts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from augserve.data.workload.coding_agents.figures import EARLY_TURNS
from augserve.data.workload.model import Session


@dataclass(frozen=True, slots=True)
class CallingTurn:
    """A turn with calls, and what the next turn's prompt makes of them."""

    session: int
    early: bool
    tool: str
    output: int
    pause: float
    calls: int
    runs_agents: bool
    new_tokens: int
    kept_share: float | None  # of the context, by the next turn; None: all


def calling_turns(sessions: list[Session]) -> list[CallingTurn]:
    return [turn for number, session in enumerate(sessions) for turn in _of_session(number, session)]


def _of_session(number: int, session: Session) -> Iterator[CallingTurn]:
    prompts = session.prompt_lengths()
    for place, (turn, following) in enumerate(pairwise(session.turns)):
        longest = turn.longest_call
        if longest is None:
            continue
        context = prompts[place] + turn.output_tokens
        agents = sum(call.agent is not None for call in turn.calls)
        yield CallingTurn(
            session=number,
            early=place < EARLY_TURNS,
            tool=longest.tool,
            output=turn.output_tokens,
            pause=longest.duration_s,
            calls=agents or len(turn.calls),
            runs_agents=agents > 0,
            new_tokens=following.new_tokens,
            kept_share=None if following.kept_tokens is None else following.kept_tokens / context,
        )
