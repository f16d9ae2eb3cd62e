import dataclasses
from types import SimpleNamespace

import pytest

from augserve.data.workload.token_ids import session_token_ids
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.record.records import TurnRecord
from experiments.fidelity.pace import OUTPUT_TOKENS, SESSIONS, batch_size, pace_load, token_s
from experiments.fidelity.params import FidelityParams


def seen(count=SESSIONS, slow=0):
    """Turns of 10 ms a token, `slow` of them of 50 ms."""
    each_s = [0.05] * slow + [0.01] * (count - slow)
    turns = [TurnRecord("s", "pace", 0, True, 0.0, 8, 1.0, 1.0 + 8 * one_s, output_tokens=9) for one_s in each_s]
    return SimpleNamespace(records=lambda: turns)


def test_two_batches_are_of_the_same_size_and_share_no_prompt():
    first, second = pace_load("before-0").sessions, pace_load("after-0").sessions
    prompts = {tuple(session_token_ids(session)) for session in (*first, *second)}
    assert len(prompts) == 2 * SESSIONS
    for one, other in zip(first, second, strict=True):
        assert dataclasses.replace(one, session_id="") == dataclasses.replace(other, session_id="")


def test_the_shipped_engine_runs_the_whole_batch_at_once():
    params = load_params(FidelityParams)
    (turn,) = pace_load("one").sessions[0].turns
    assert params.max_num_seqs >= SESSIONS
    assert params.kv_tokens >= 2 * SESSIONS * (turn.new_tokens + OUTPUT_TOKENS)


def test_a_small_cache_holds_its_batch_twice():
    sessions = batch_size(1_536)
    assert 0 < sessions < SESSIONS
    assert 2 * sum(s.turns[0].new_tokens + OUTPUT_TOKENS for s in pace_load("one", sessions).sessions) <= 1_536
    assert batch_size(1 << 20) == SESSIONS


def test_the_pace_is_the_median_time_between_two_tokens_of_a_turn():
    assert token_s(seen(slow=SESSIONS // 2 - 1)) == pytest.approx(0.01)


def test_a_batch_with_a_failed_turn_is_an_error():
    with pytest.raises(StageError, match=f"{SESSIONS - 1} of {SESSIONS}"):
        token_s(seen(SESSIONS - 1))
