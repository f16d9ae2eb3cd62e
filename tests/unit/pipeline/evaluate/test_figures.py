import csv
import dataclasses
import xml.etree.ElementTree as ET

import pytest

from augserve.pipeline.evaluate.distributions import STEPS, TTFT, WAITING, distributions
from augserve.pipeline.evaluate.figures import COLOURS, write_figures
from augserve.pipeline.report.page import FIGURES
from augserve.pipeline.results.metrics_file import Evaluated
from augserve.pipeline.results.tables import RIVALS
from augserve.pipeline.simulator.record.evidence import Evidence


def evidence(wait_s):
    return Evidence(
        {}, 10.0, ["a", "b"], ["math", "qa"], [1, 0], [0, 0, 1], [wait_s, wait_s, 3.0], [1, 1, 0],
        [0.0, 1.0], [8192.0, 512.0], [0.2, 0.9],
    )  # fmt: skip


@pytest.fixture
def rows():
    return distributions(
        {
            ("mix", "p", "10"): {"vllm": [evidence(9.0)], "augserve": [evidence(0.1), evidence(0.2)]},
            ("mix", "p", "2"): {"vllm": [evidence(5.0)], "augserve": [evidence(0.5)]},
        }
    )


def test_distributions_are_of_the_highest_load(rows):
    waits = [dict(zip(TTFT, row, strict=True)) for row in rows["ttft"]]
    assert max(row["ttft_s"] for row in waits if row["policy"] == "vllm") == 9.0


def test_waiting_is_told_by_type_of_session_over_all_runs(rows):
    told = {(row[2], row[3]): dict(zip(WAITING, row, strict=True)) for row in rows["waiting"]}
    ours = told["augserve", "math"]
    assert ours["turns"] == 4
    assert ours["ttft_p50_s"] == pytest.approx(0.15)
    assert ours["turns_in_time"] == 1.0
    assert told["vllm", "qa"]["turns_in_time"] == 0.0


def test_a_long_run_is_told_in_few_moments():
    long = dataclasses.replace(
        evidence(1.0), bins_s=[float(n) for n in range(1000)], token_budget=[512.0] * 1000, kv_usage=[0.25] * 1000
    )
    told = [row[3:] for row in distributions({("mix", "p", "2"): {"vllm": [long]}})["steps"]]
    assert len(told) == 120
    assert told[0] == (0.0, 512.0, 0.25)


def test_every_figure_is_whole_svg_and_stands_beside_its_rows(tmp_path, evaluated, rows):
    write_figures(tmp_path, evaluated, rows)
    for name in FIGURES:
        assert ET.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
    with (tmp_path / "steps.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == list(STEPS)
    assert {row["policy"] for row in read} == {"vllm", "augserve"}


def test_the_same_results_give_the_same_bytes(tmp_path, evaluated, rows):
    for folder in ("a", "b"):
        write_figures(tmp_path / folder, evaluated, rows)
    for name in FIGURES:
        assert (tmp_path / "a" / f"{name}.svg").read_bytes() == (tmp_path / "b" / f"{name}.svg").read_bytes()


def test_every_workload_and_profile_has_its_panel(tmp_path, evaluated):
    jobs = [("mix", "p"), ("mix", "q"), ("coding", "p")]
    by_load = evaluated.results["mix"]["p"]
    several = Evaluated({"mix": {"p": by_load, "q": by_load}, "coding": {"p": by_load}}, {}, {})
    rows = distributions({(*job, "2"): {"vllm": [evidence(5.0)], "augserve": [evidence(0.5)]} for job in jobs})
    write_figures(tmp_path, several, rows)
    for name in FIGURES:
        text = (tmp_path / f"{name}.svg").read_text()
        for job in jobs:
            assert text.count(" on ".join(job)) >= 1 + (name == "steps"), name


def test_rivals_differ_in_colour():
    assert len(set(COLOURS)) == len(COLOURS) >= len(RIVALS)
