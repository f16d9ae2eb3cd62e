"""Generated sessions of the mix as turns to learn from."""

from collections.abc import Iterator

from ...data.tables.prompt_tail import TAIL_TOKENS, tail_counts
from ...data.workload.mix import MIX
from ...data.workload.model import Session
from ...data.workload.steady_state import NOMINAL_TOKEN_S
from ...data.workload.token_ids import session_token_ids
from ...features.past import PastCall, PastPause, PastTurn
from ...features.turn import TurnFacts
from .training_turns import TrainingTurn

MIX_TEMPERATURE = 1.0  # vLLM's defaults, as in the simulator's requests
MIX_TOP_P = 1.0


def mix_turns(session: Session) -> Iterator[TrainingTurn]:
    """The session's turns at a nominal pace, with the token ids that the simulator uses.

    No turn waits for another session, so predictors learn the mix itself and no queue.
    """
    token_ids = session_token_ids(session)
    arrival_s = session.arrival_s
    for index, turn in enumerate(session.turns):
        prompt_tokens = session.prompt_tokens(index)
        facts = TurnFacts(
            prompt_tokens=prompt_tokens,
            turn=index,
            max_tokens=session.max_tokens,
            temperature=MIX_TEMPERATURE,
            top_p=MIX_TOP_P,
            structured=False,
            tools_offered=session.tools_offered,
            tail=tail_counts(token_ids[max(prompt_tokens - TAIL_TOKENS, 0) : prompt_tokens]),
        )
        finish_s = arrival_s + NOMINAL_TOKEN_S * turn.output_tokens
        pause = None
        if turn.calls:
            calls = tuple(PastCall(call.tool, call.duration_s) for call in turn.calls)
            pause = PastPause(finish_s + turn.tools_s, turn.tools_s, calls)
        past = PastTurn(session.session_id, facts, arrival_s, finish_s, turn.output_tokens, pause)
        cut_off = turn.output_tokens >= session.max_tokens
        yield TrainingTurn(MIX, past, None, session.session_id, cut_off, bool(turn.calls))
        arrival_s = finish_s if pause is None else pause.return_s
