import json

import numpy as np
import pytest

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import StageError
from experiments.fidelity import live
from experiments.fidelity.live import LiveParams, Measured, live_loads, ratios, table
from experiments.fidelity.params import FidelityParams

LINEAR = {"base_s": 0.03, "per_prefill_token_s": 1e-3, "per_decode_s": 2e-3, "per_context_token_s": 4e-7}
SHOWN = ("effective_throughput", "session_effective_throughput", "turns")
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
    assert ratios(RESULTS, SHOWN) == {
        "effective_throughput": 3.0,
        "session_effective_throughput": None,
        "turns": pytest.approx(31 / 30),
    }
    written = table("2x", RESULTS, SHOWN)
    assert written.startswith("| 2x | vllm | augserve | ratio |")
    assert "| effective_throughput | 1.5 | 4.5 | 3.00 |" in written
    assert "| session_effective_throughput | 0 | 0.2 | – |" in written


def test_the_open_loop_takes_five_minutes_at_twice_the_capacity():
    shipped = load_params(LiveParams)
    assert (shipped.load, shipped.duration_s, shipped.drain_s) == (2.0, 300.0, 30.0)
    with pytest.raises(ValueError, match="drain_s"):
        LiveParams(**(shipped.model_dump() | {"drain_s": 0.0}))


def test_the_closed_loop_has_three_times_the_agents_whose_mean_contexts_fit():
    shipped, params = load_params(LiveParams), load_params(FidelityParams)
    _, agents = live_loads(shipped, params, 1.0, seed=1)
    contexts: list[int] = []
    for session in agents.load.sessions[shipped.agents :]:  # the others are cut at their beginning
        context = 0
        for turn in session.turns:
            context = (context if turn.kept_tokens is None else turn.kept_tokens) + turn.new_tokens + turn.output_tokens
            contexts.append(context)
    assert shipped.agents == 3 * int(params.kv_tokens / np.mean(contexts))
    assert agents.window.length_s == shipped.agents_window_s >= 120


def test_both_policies_get_the_same_sessions_and_a_failed_turn_stops_the_run(monkeypatch, tmp_path, summary):
    """Its parts are fidelity's, tested there on a real server; here is how they are put together."""
    given = []

    class Found:
        turns = range(4)

        def __init__(self, policy):
            self.policy = policy

        def turn_counts(self):
            return {"answered": 3, "failed": 0, "cancelled": 1, "unsent": 5}

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
    shipped = load_params(LiveParams)
    assert [policy for policy, *_ in given] == ["vllm", "augserve"] * 2
    for stock, ours in (given[:2], given[2:]):
        assert stock[1:] == ours[1:]
        assert stock[1] == StepTime(**LINEAR)
    drains_s, agents = [run[-1] for run in given], [run[2].agents for run in given]
    assert drains_s == [shipped.drain_s] * 2 + [shipped.agents_drain_s] * 2
    assert agents == [None] * 2 + [shipped.agents] * 2
    written = json.loads((tmp_path / "live" / "metrics.json").read_text())
    assert written["2x"]["augserve"] == RESULTS["augserve"] | {"answered": 0.75}
    assert written["conditions"]["rate_per_s"] == 3.0
    tables = (tmp_path / "live" / "table.md").read_text()
    assert "| 2x | vllm | augserve | ratio |" in tables
    assert f"\n\n| {shipped.agents} agents | vllm | augserve | ratio |" in tables
    failing = "augserve"
    with pytest.raises(StageError, match=r"augserve.*timed out"):
        live.main()
