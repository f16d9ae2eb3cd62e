from augserve.pipeline.results.agent_tables import agent_cells, agent_headline
from augserve.pipeline.results.tables import OVER_IT

JOB = ("coding-agents", "p")


def test_every_number_of_agents_and_policy_is_a_row(results):
    table = agent_cells(results, JOB)
    assert list(zip(table["agents"], table["policy"], strict=True)) == [
        (8, "augserve"), (8, "vllm"), (16, "augserve"), (16, "vllm"), (16, "uncached-first"),
    ]  # fmt: skip
    assert table["steps/min"].tolist()[:1] == ["60.0 [54.0–66.0]"]


def test_the_headline_states_the_ratio_of_augserve_to_each_policy(results):
    table = agent_headline(results, JOB)
    assert table[OVER_IT].tolist() == ["–", "1.00", "–", "3.50 [3.00–4.00]", "–"]
    assert table["policy"].tolist()[2:4] == ["AugServe", "stock vLLM"]
    assert table["in SLO"].tolist()[0] == "50.0%"


def test_a_metric_without_a_value_is_a_dash(results):
    del results.cells["coding-agents"]["p"]["16"]["vllm"]["session_time_mean_s"]
    assert agent_headline(results, JOB)["session time, s"].tolist()[3] == "–"
