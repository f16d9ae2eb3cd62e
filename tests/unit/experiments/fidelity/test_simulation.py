import dataclasses

import pytest

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project.params import load_params
from augserve.pipeline.simulator.profile import StepProfile
from experiments.fidelity.calibration import Calibration, Overheads
from experiments.fidelity.params import FidelityParams, shortened
from experiments.fidelity.simulation import at_the_client, at_the_engine, simulate

NONE = Overheads(0.0, 0.0, 0.0)
SOME = Overheads(request_s=0.02, handover_s=0.01, response_s=0.04)


@pytest.fixture
def params():
    return load_params(FidelityParams)


def calibration(params, overheads=NONE):
    profile = StepProfile("cpu", "made", params.limits, (1, 8192), (0.02, 4.0), 1e-3, 1e-7, StepTime())
    return Calibration(profile, overheads, pace_s=0.1)


def run(params, rate_per_s, overheads=NONE, duration_s=20.0):
    sessions = params.load(rate_per_s, duration_s, 7).sessions
    settings = SchedulerSettings(slo=params.slo)
    return simulate("vllm", sessions, duration_s, calibration(params, overheads), settings, None), sessions


def test_the_shipped_section_is_valid_and_its_sessions_fit_the_engine(params):
    load = params.load(1.0, 30.0, 3)
    assert load.sessions
    for session in load.sessions:
        last = len(session.turns) - 1
        assert session.prompt_tokens(last) + session.max_tokens <= params.max_model_len
        assert max(turn.output_tokens for turn in session.turns) <= session.max_tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": ("mars",)}, "policies"),
        ({"loads": ()}, "loads"),
        ({"loads": (1.0, 1.0)}, "loads"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"token_scale": 1.5}, "token_scale"),
        ({"max_model_len": 16384}, "max_model_len"),
        ({"kv_tokens": 2048}, "kv_tokens"),
        ({"kv_tokens": 16400}, "kv_tokens"),
        ({"max_num_batched_tokens": 8}, "max_num_batched_tokens"),
    ],
)
def test_bad_params_are_named(params, change, message):
    with pytest.raises(ValueError, match=message):
        params.changed(**change)


def test_the_server_gets_the_simulator_s_limits(params):
    _, *flags = params.server_arguments()
    found = dict(zip(flags[::2], flags[1::2], strict=True))
    assert int(found["--num-gpu-blocks-override"]) * int(found["--block-size"]) == params.limits.kv_tokens
    assert int(found["--max-num-seqs"]) == params.limits.max_num_seqs


def test_shortening_scales_lengths_and_times_and_leaves_no_length_zero(params):
    session = params.load(1.0, 30.0, 3).sessions[0]
    short = shortened(session, 1e-6, 0.5)
    assert {(turn.new_tokens, turn.output_tokens) for turn in short.turns} == {(1, 1)}
    assert short.arrival_s == session.arrival_s * 0.5


def test_every_turn_is_recorded_once_and_none_arrives_after_the_window(params):
    result, sessions = run(params, 2.0)
    keys = [(turn.session_id, turn.turn) for turn in result.turns]
    assert len(keys) == len(set(keys)) > len(sessions)
    assert max(turn.arrival_s for turn in result.turns) < 20.0
    assert all(turn.finish_s is not None for turn in result.turns)


def test_a_synchronous_engine_takes_one_step_a_token(params):
    """One session alone: its TPOT is a decode step's time, which two batches under way would not change, and its TTFT
    is one step's."""
    session = max(params.load(1.0, 20.0, 7).sessions, key=lambda s: s.turns[0].output_tokens)
    alone = dataclasses.replace(session, arrival_s=0.0)
    made = calibration(params)
    first = simulate("vllm", [alone], 20.0, made, SchedulerSettings(), None).turns[0]
    prompt = alone.prompt_tokens(0)
    assert first.first_token_s == pytest.approx(made.profile.step_s(prompt, 0, prompt))
    tpot_s = (first.finish_s - first.first_token_s) / (first.output_tokens - 1)
    assert tpot_s == pytest.approx(made.profile.step_s(0, 1, prompt), rel=0.05)


def test_overheads_shift_what_the_client_sees_and_delay_the_next_turn(params):
    session = next(s for s in params.load(1.0, 20.0, 7).sessions if len(s.turns) > 1)
    alone = [dataclasses.replace(session, arrival_s=0.5)]
    plain, slow = (
        simulate("vllm", alone, 60.0, calibration(params, over), SchedulerSettings(), None).turns
        for over in (NONE, SOME)
    )
    whole_s = SOME.arrival_s + SOME.response_s
    assert slow[0].arrival_s == pytest.approx(0.5)
    assert slow[0].first_token_s - plain[0].first_token_s == pytest.approx(whole_s)
    pause_s = session.turns[0].tools_s
    assert slow[1].arrival_s == pytest.approx(slow[0].finish_s + pause_s)


def test_engine_and_client_times_are_inverse(params):
    session = params.load(1.0, 20.0, 7).sessions[0]
    engine_side = at_the_engine(session, SOME)
    assert engine_side.arrival_s - session.arrival_s == pytest.approx(SOME.arrival_s)
    record = simulate("vllm", [session], 20.0, calibration(params), SchedulerSettings(), None).turns[0]
    assert at_the_client(record, NONE) == record


def test_the_prefix_cache_hits_whole_cpu_blocks(params):
    result, _ = run(params, 1.0)
    assert {turn.cached_tokens % 32 for turn in result.turns} == {0}
    assert any(turn.cached_tokens for turn in result.turns)
