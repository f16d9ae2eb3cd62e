"""Times of a turn, and whether it meets the SLO."""

from ....models.serving.settings import Slo
from .records import TurnRecord


def meets_slo(turn: TurnRecord, slo: Slo) -> bool:
    """TTFT and TPOT within the SLO; a turn of one token has no TPOT."""
    if turn.first_token_s is None or turn.finish_s is None:
        return False
    if turn.first_token_s - turn.arrival_s > slo.ttft_s:
        return False
    pace_s = tpot_s(turn)
    return pace_s is None or pace_s <= slo.tpot_s


def tpot_s(turn: TurnRecord) -> float | None:
    """(last − first token) / (output tokens − 1) of a finished turn with two tokens or more."""
    if turn.finish_s is None or turn.first_token_s is None or turn.output_tokens < 2:
        return None
    return (turn.finish_s - turn.first_token_s) / (turn.output_tokens - 1)


def wait_s(turn: TurnRecord, end_s: float) -> float:
    """TTFT; without a first token, the wait until the end of the run."""
    return (end_s if turn.first_token_s is None else turn.first_token_s) - turn.arrival_s
