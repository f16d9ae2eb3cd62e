import csv

from augserve.pipeline.evaluate.agent_figures import agent_rows, write_agent_figures


def test_a_row_is_a_number_of_agents_and_policy(results):
    rows = agent_rows(results)
    assert rows[["agents", "policy"]].values.tolist() == [
        [8, "augserve"], [8, "vllm"], [16, "augserve"], [16, "vllm"], [16, "uncached-first"],
    ]  # fmt: skip
    assert rows["steps_per_minute"].tolist() == [60.0, 60.0, 70.0, 20.0, 30.0]


def test_the_files_hold_throughput_and_interactivity_of_every_cell(tmp_path, results):
    write_agent_figures(tmp_path, results)
    with (tmp_path / "pareto.csv").open(newline="") as file:
        points = [(row["policy"], row["agents"], row["steps_per_minute"]) for row in csv.DictReader(file)]
    assert len(points) == 5
    assert ("vllm", "16", "20") in points
    assert "coding-agents on p" in (tmp_path / "agents.svg").read_text()
    assert "coding-agents on p" in (tmp_path / "pareto.svg").read_text()


def test_a_cell_without_turns_of_two_tokens_has_no_point(tmp_path, results):
    del results.cells["coding-agents"]["p"]["16"]["vllm"]["interactivity_p90"]
    write_agent_figures(tmp_path, results)
    with (tmp_path / "pareto.csv").open(newline="") as file:
        without = [row["policy"] for row in csv.DictReader(file) if not row["interactivity_p90"]]
    assert without == ["vllm"]
