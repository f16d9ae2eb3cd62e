import dataclasses
import itertools

import pytest

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.data.workload.schedule import Load
from augserve.data.workload.token_ids import session_contexts
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project.params import load_params
from augserve.pipeline.simulator.profile import StepProfile
from experiments.fidelity.calibration import Calibration, Overheads
from experiments.fidelity.loads import compared_loads
from experiments.fidelity.params import FidelityParams
from experiments.fidelity.scaling import shortened
from experiments.fidelity.simulation import at_the_client, at_the_engine, sessions_at_the_engine, simulate

NONE = Overheads(0.0, 0.0, 0.0)
SOME = Overheads(request_s=0.02, handover_s=0.01, response_s=0.04)


@pytest.fixture
def params():
    return load_params(FidelityParams)


def calibration(params, overheads=NONE):
    profile = StepProfile("cpu", "made", params.limits, (1, 8192), (0.02, 4.0), 1e-3, 1e-7, StepTime())
    return Calibration(profile, overheads, pace_s=0.1)


def run(params, rate_per_s, overheads=NONE, duration_s=20.0):
    load = params.load(rate_per_s, duration_s, 7)
    return simulated(params, load, duration_s, overheads), load.sessions


def simulated(params, load, end_s=20.0, overheads=NONE):
    settings = SchedulerSettings(slo=params.slo)
    return simulate("vllm", load, end_s, 60.0, calibration(params, overheads), settings, None)


def alone(session):
    return Load((session,))


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
        ({"agents": (4, 4)}, "agents"),
        ({"agents": (0,)}, "agents"),
        ({"agents_pause_cap_s": -1.0}, "agents_pause_cap_s"),
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


def test_coding_agents_fit_the_engine_and_their_pauses_are_capped(params):
    load = params.agents_load(12, 60.0, 3)
    assert load.agents == 12
    sessions = [own for session in load.sessions for own in session.tree()]
    assert all(max(own.prompt_lengths()) + own.max_tokens <= params.max_model_len for own in sessions)
    assert all(turn.tools_s <= params.agents_pause_cap_s for own in sessions for turn in own.turns)


@pytest.mark.parametrize(("agents", "least", "most"), [(4, 0.85, 1.0), (12, 0.0, 0.7)])
def test_the_contexts_of_four_coding_agents_fit_the_cache_and_those_of_twelve_do_not(params, agents, least, most):
    turns = [turn for turn in simulated(params, params.agents_load(agents, 50.0, 3), 50.0).turns if turn.arrival_s > 15]
    hit_rate = sum(turn.cached_tokens for turn in turns) / sum(turn.prompt_tokens for turn in turns)
    assert least < hit_rate < most


def test_an_agent_begins_its_next_session_when_the_client_has_the_output(params):
    session = Session("s", "made", 0.0, (Turn(20, 3),))
    sessions = tuple(dataclasses.replace(session, session_id=f"s{number}") for number in range(3))
    found = simulated(params, Load(sessions, agents=1), 60.0, SOME).turns
    assert [turn.session_id for turn in found] == ["s0", "s1", "s2"]
    for before, after in itertools.pairwise(found):
        assert after.arrival_s == pytest.approx(before.finish_s)
    shifted = sessions_at_the_engine(Load(sessions, agents=1), SOME)
    assert [one.arrival_s for one in shifted] == pytest.approx([0.03, 0.07, 0.07])


def test_open_and_closed_loops_have_sessions_and_windows_of_their_own(params):
    loads = compared_loads(params, 1.0, 3)
    assert [load.name for load in loads] == ["0.5x", "1x", "2x", "4 agents", "12 agents"]
    assert [load.is_closed for load in loads] == [False] * 3 + [True] * 2
    closed = (params.agents_warmup_s, params.agents_warmup_s + params.agents_window_s)
    assert {(load.window.start_s, load.window.end_s) for load in loads if load.is_closed} == {closed}
    names = [session.session_id for load in loads for session in load.load.sessions]
    assert len(set(names)) == len(names)


def test_a_scaled_compaction_keeps_no_more_than_there_is():
    turns = (Turn(4, 4, (ToolCall("t", 0.0, 1),)), Turn(4, 4, (ToolCall("t", 0.0, 1),)), Turn(1, 1, (), kept_tokens=16))
    short = shortened(Session("s", "made", 0.0, turns), 0.1, 1.0)
    assert short.turns[2].kept_tokens == 2
    short = shortened(Session("s", "made", 0.0, turns), 0.35, 1.0)
    assert short.turns[2].kept_tokens == 4  # not 6
    assert [len(ids) >= length for ids, length in zip(session_contexts(short), short.prompt_lengths(), strict=True)]


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
    made = calibration(params)
    first = simulated(params, alone(dataclasses.replace(session, arrival_s=0.0))).turns[0]
    prompt = session.prompt_tokens(0)
    assert first.first_token_s == pytest.approx(made.profile.step_s(prompt, 0, prompt))
    tpot_s = (first.finish_s - first.first_token_s) / (first.output_tokens - 1)
    assert tpot_s == pytest.approx(made.profile.step_s(0, 1, prompt), rel=0.05)


def test_overheads_shift_what_the_client_sees_and_delay_the_next_turn(params):
    session = next(s for s in params.load(1.0, 20.0, 7).sessions if len(s.turns) > 1)
    load = alone(dataclasses.replace(session, arrival_s=0.5))
    plain, slow = (simulated(params, load, 60.0, over).turns for over in (NONE, SOME))
    whole_s = SOME.arrival_s + SOME.response_s
    assert slow[0].arrival_s == pytest.approx(0.5)
    assert slow[0].first_token_s - plain[0].first_token_s == pytest.approx(whole_s)
    pause_s = session.turns[0].tools_s
    assert slow[1].arrival_s == pytest.approx(slow[0].finish_s + pause_s)


def test_engine_and_client_times_are_inverse(params):
    session = params.load(1.0, 20.0, 7).sessions[0]
    engine_side = at_the_engine(session, SOME)
    assert engine_side.arrival_s - session.arrival_s == pytest.approx(SOME.arrival_s)
    record = simulated(params, alone(session)).turns[0]
    assert at_the_client(record, NONE) == record


def test_the_prefix_cache_hits_whole_cpu_blocks(params):
    result, _ = run(params, 1.0)
    assert {turn.cached_tokens % 32 for turn in result.turns} == {0}
    assert any(turn.cached_tokens for turn in result.turns)
