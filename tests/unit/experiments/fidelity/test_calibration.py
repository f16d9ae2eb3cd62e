from types import SimpleNamespace

import pyarrow as pa
import pytest

from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.models.serving.settings import StepTime
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.profile import EngineLimits, PrefillAttention, StepProfile
from experiments.fidelity.calibration import Calibration, Overheads, cycles, overheads

NAMES = Pseudonyms(bytes(32))
START_S = 1_000.0


def made(turns=8, busy_steps=6):
    """Turns 1 s apart, each of which an idle engine begins 3 ms after its arrival and steps 2 ms apart."""
    seen, rows, steps = [], [], []
    for number in range(turns):
        due_s = float(number)
        arrival_s = START_S + due_s + 0.005
        at_s = arrival_s + 0.003
        first_s = at_s + 0.010
        for _ in range(busy_steps):
            steps.append({"start_s": at_s, "step_s": 0.010})
            at_s += 0.012
        rows.append({"session_id": NAMES.of("s"), "turn": number, "arrival_s": arrival_s, "first_token_s": first_s})
        first = first_s + 0.004 - START_S
        seen.append(SimpleNamespace(session_id="s", turn=number, due_s=due_s, first_token_s=first))
    replayed = SimpleNamespace(turns=seen, started_at_s=START_S)
    return pa.Table.from_pylist(steps), pa.Table.from_pylist(rows), [replayed]


def test_each_overhead_is_the_median_of_what_was_measured():
    found = overheads(*made(), NAMES)
    assert found.request_s == pytest.approx(0.005, abs=1e-6)
    assert found.handover_s == pytest.approx(0.003, abs=1e-6)
    assert found.response_s == pytest.approx(0.004, abs=1e-6)
    assert found.arrival_s == pytest.approx(0.008, abs=1e-6)


def test_a_short_calibration_names_the_parameter_to_raise():
    with pytest.raises(StageError, match=r"fidelity\.calibration_s"):
        overheads(*made(turns=3), NAMES)


def test_without_an_idle_engine_the_handover_is_zero(caplog):
    _, turns, replayed = made()
    busy = pa.Table.from_pylist([{"start_s": START_S - 1 + 0.02 * n, "step_s": 0.021} for n in range(600)])
    assert overheads(busy, turns, replayed, NAMES).handover_s == 0.0
    assert "0 turns reached an idle engine" in caplog.text


def test_a_cycle_lasts_until_the_next_step_or_by_the_median_gap():
    steps, _, _ = made(turns=2, busy_steps=6)
    assert cycles(steps).column("step_s").to_pylist() == pytest.approx([0.012] * 12, abs=1e-6)
    assert cycles(steps).column("start_s") == steps.column("start_s")


def test_steps_with_idle_gaps_only_are_refused():
    lonely = pa.Table.from_pylist([{"start_s": float(number), "step_s": 0.01} for number in range(9)])
    with pytest.raises(StageError, match="steps"):
        cycles(lonely)


def test_a_slower_pace_scales_all_step_times_but_not_the_schedulers_model():
    limits = EngineLimits(kv_tokens=4096, max_model_len=4096, max_num_seqs=64, max_num_batched_tokens=1024)
    attention = PrefillAttention(0.0, 0.0, 1e-6, 2e-7)
    profile = StepProfile("cpu", "made", limits, (1, 1024), (0.02, 0.5), 1e-3, 1e-6, StepTime(), prefill=attention)
    found = Calibration(profile, Overheads(0.001, 0.002, 0.003), pace_s=0.10)
    slower = found.at_pace(0.11)
    for held in ((0, 8, 900), (300, 2, 5_000), (300, 0, 2_000, 2_000, 5e5), (1, 0, 1)):
        assert slower.profile.step_s(*held) == pytest.approx(1.1 * found.profile.step_s(*held))
    assert slower.profile.linear == found.profile.linear
    assert slower.at_pace(0.10).profile.step_s(100, 4, 2_000) == pytest.approx(found.profile.step_s(100, 4, 2_000))
