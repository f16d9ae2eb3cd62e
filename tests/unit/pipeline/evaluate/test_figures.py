import csv
import xml.etree.ElementTree as ET

import pytest

from augserve.pipeline.evaluate.agent_figures import write_agent_figures
from augserve.pipeline.evaluate.distributions import distributions
from augserve.pipeline.evaluate.figures import COLOURS, goodput_rows, write_figures
from augserve.pipeline.report.page import EVALUATION_FIGURES
from augserve.pipeline.results.metrics_file import EvaluationResults
from augserve.pipeline.simulator import catalogue

from .test_distributions import evidence


def distributions_of(*jobs):
    runs = {"vllm": [evidence(5.0)], "augserve": [evidence(0.5)]}
    return distributions({(*job, "2x"): runs for job in jobs}, dict.fromkeys(jobs, 2.0))


@pytest.fixture
def tables():
    return distributions_of(("mix", "p"))


def test_every_figure_of_the_page_is_a_whole_svg(tmp_path, results, tables):
    write_figures(tmp_path, results, tables)
    write_agent_figures(tmp_path, results)
    for name in EVALUATION_FIGURES:
        assert ET.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_rows_of_a_figure_stand_in_its_csv(tmp_path, results, tables):
    write_figures(tmp_path, results, tables)
    with (tmp_path / "steps.csv").open(newline="") as file:
        assert {row["policy"] for row in csv.DictReader(file)} == {"vllm", "augserve"}


def test_goodput_has_one_row_a_cell(results):
    rows = goodput_rows(results)
    assert rows[["policy", "load"]].values.tolist() == [
        ["augserve", "1"], ["infercept", "1"], ["vllm", "1"],
        ["augserve", "2"], ["augserve-no-context", "2"], ["infercept", "2"], ["vllm", "2"],
    ]  # fmt: skip
    assert rows["effective_throughput_high"].iloc[3] == pytest.approx(11)


def test_the_same_results_give_the_same_bytes(tmp_path, results, tables):
    for folder in ("a", "b"):
        write_figures(tmp_path / folder, results, tables)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_every_workload_and_profile_has_a_panel(tmp_path, results):
    jobs = [("mix", "p"), ("mix", "q"), ("coding", "p")]
    by_load = results.cells["mix"]["p"]
    several = EvaluationResults({"mix": {"p": by_load, "q": by_load}, "coding": {"p": by_load}}, {}, {})
    write_figures(tmp_path, several, distributions_of(*jobs))
    for name in set(EVALUATION_FIGURES) - {"agents", "pareto"}:
        text = (tmp_path / f"{name}.svg").read_text()
        assert all(" on ".join(job) in text for job in jobs), name


def test_rivals_differ_in_colour():
    assert len(set(COLOURS)) == len(COLOURS) == len(catalogue.RIVALS) + len(catalogue.PROGRAM_RIVALS)
