import json

import pytest

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import StageError
from experiments.fidelity import live
from experiments.fidelity.live import LiveParams, Measured, ratios, table

LINEAR = {"base_s": 0.03, "per_prefill_token_s": 1e-3, "per_decode_s": 2e-3, "per_context_token_s": 4e-7}
RESULTS = {
    "vllm": {"effective_throughput": 1.5, "session_effective_throughput": 0.0, "turns": 30.0},
    "augserve": {"effective_throughput": 4.5, "session_effective_throughput": 0.2, "turns": 31.0, "failed": 0.0},
}


@pytest.fixture
def summary(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"conditions": {"capacity90_per_s": 1.5, "profile": {"linear": LINEAR}}}))
    return path


def test_capacity_and_step_times_come_from_fidelity(summary):
    assert Measured.read(summary) == Measured(1.5, StepTime(**LINEAR))


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"conditions": {"capacity90_per_s": 1.5, "profile": {}}}'])
def test_a_missing_summary_names_the_remedy(summary, damage):
    summary.write_text(damage)
    with pytest.raises(StageError, match=r"summary\.json.*make fidelity"):
        Measured.read(summary)
    summary.unlink()
    with pytest.raises(StageError, match="make fidelity"):
        Measured.read(summary)


def test_ratios_are_relative_to_stock_vllm_and_none_for_zero():
    assert ratios(RESULTS) == {
        "effective_throughput": 3.0,
        "session_effective_throughput": None,
        "turns": pytest.approx(31 / 30),
    }
    assert "| effective_throughput | 1.5 | 4.5 | 3.00 |" in table(RESULTS)
    assert "| session_effective_throughput | 0 | 0.2 | – |" in table(RESULTS)


def test_the_shipped_section_is_five_minutes_at_twice_the_capacity():
    assert load_params(LiveParams) == LiveParams(load=2.0, duration_s=300.0, drain_s=30.0)
    with pytest.raises(ValueError, match="drain_s"):
        LiveParams(load=2.0, duration_s=300.0, drain_s=0.0)


def test_both_policies_get_the_same_sessions_and_a_failed_turn_stops_the_run(monkeypatch, tmp_path, summary):
    """Its parts are fidelity's, tested there on a real server; here is how they are put together."""
    given = []

    class Found:
        def __init__(self, policy):
            self.policy = policy

        def failures(self):
            return {"timed out": {"turns": 1}} if self.policy == failing else {}

        def metrics(self):
            return RESULTS[self.policy]

    class Serving:
        def __init__(self, params, policy, bundle, settings, seed):
            self.facts = (policy, settings.step_time)

        def __enter__(self):
            return self.facts

        def __exit__(self, *_):
            return None

    def run_load(params, server, load, window, drain_s):
        given.append((*server, load, window, drain_s))
        return Found(server[0])

    class Bundle:
        settings = SchedulerSettings()
        version = "1"

    monkeypatch.setattr(live, "FIDELITY_REPORTS", tmp_path)
    monkeypatch.setattr(live, "REPORTS", tmp_path / "live")
    monkeypatch.setattr(live, "bundle_to_serve", lambda: Bundle)
    monkeypatch.setattr(live, "serving", Serving)
    monkeypatch.setattr(live, "run_load", run_load)
    failing = None
    live.main()
    (stock, ours) = given
    assert (stock[0], ours[0]) == ("vllm", "augserve")
    assert stock[1:] == ours[1:]
    assert stock[1] == StepTime(**LINEAR)
    written = json.loads((tmp_path / "live" / "metrics.json").read_text())
    assert written["ratio"]["effective_throughput"] == 3.0
    assert written["conditions"]["rate_per_s"] == 3.0
    failing = "augserve"
    with pytest.raises(StageError, match=r"augserve.*timed out"):
        live.main()
