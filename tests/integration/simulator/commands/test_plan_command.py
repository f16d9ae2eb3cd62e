"""`augserve plan` on vLLM's scheduler."""

import argparse
from concurrent.futures import Future
from pathlib import Path

import pytest

from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.cli import plan
from augserve.pipeline.cli.engines_needed import Plan
from augserve.pipeline.simulator.cells.cell import Cell
from augserve.pipeline.simulator.cells.evidence import run_evidence
from augserve.pipeline.simulator.profile import StepProfile
from augserve.pipeline.simulator.record.evidence import Evidence

SHORT = ("--warmup", "5", "--window", "30", "--drain", "5", "--pause-cap", "2", "--policy", "vllm")


@pytest.fixture
def small(profile: StepProfile, tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    profile.save(path)
    return path


@pytest.fixture
def arguments(small: Path):  # type: ignore[no-untyped-def]
    parser = argparse.ArgumentParser()
    plan.configure(parser)
    return lambda *more: parser.parse_args(["augmentation-mix", "--profile", str(small), *SHORT, *more])


def here(cell: Cell) -> "Future[Evidence]":
    """The cell in this process."""
    future: Future[Evidence] = Future()
    future.set_result(run_evidence(cell))
    return future


def test_the_plan_names_the_least_number_of_engines_with_its_interval(arguments) -> None:  # type: ignore[no-untyped-def]
    (cell,) = plan.read_cells(arguments("--agents", "24"), ["vllm"])
    shares: dict[int, float] = {}

    def noted(cell: Cell) -> "Future[Evidence]":
        future = here(cell)
        if cell.agents == 24:
            shares[cell.fleet.replicas] = future.result().metrics["attainment"]
        return future

    need = Plan(cell, 0.9, 16, 1, 16).search(noted)
    assert need.engines is not None
    assert need.engines > 1
    assert shares[need.engines] >= 0.9 > shares[need.engines - 1]
    assert len(shares) <= 5  # one engine alone shows about where to look
    assert need.low is not None
    assert need.low <= need.engines <= (need.high or 16)
    row = plan.table([need]).splitlines()[1].split()
    assert row[:3] == ["small", "vllm", str(need.engines)]


def test_a_few_engines_with_their_share_of_the_agents_stand_for_a_large_fleet(arguments) -> None:  # type: ignore[no-untyped-def]
    (cell,) = plan.read_cells(arguments("--agents", "24"), ["vllm"])
    loads: set[tuple[int, int | None]] = set()

    def noted(cell: Cell) -> "Future[Evidence]":
        loads.add((cell.fleet.replicas, cell.agents))
        return here(cell)

    whole = Plan(cell, 0.9, 16, 1, 16).search(here)
    need = Plan(cell, 0.9, 16, 1, 2).search(noted)
    assert max(replicas for replicas, _ in loads) == 2
    assert whole.engines is not None
    assert need.engines is not None
    assert abs(need.engines - whole.engines) <= 1
    assert (2, -(-24 * 2 // need.engines)) in loads
    assert 0.7 < need.metrics["steps_per_minute"] / whole.metrics["steps_per_minute"] < 1.4


def test_an_slo_that_no_number_of_engines_meets_needs_more_than_were_tried(arguments) -> None:  # type: ignore[no-untyped-def]
    (cell,) = plan.read_cells(arguments("--agents", "4", "--slo", "0.001:0.001"), ["vllm"])
    need = Plan(cell, 0.9, 2, 1, 2).search(here)
    assert need.engines is need.low is need.high is None
    assert "more to more" in plan.table([need])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--agents", "0"), "0 agents asked for"),
        (("--agents", "4", "--slo", "1"), "TTFT:TPOT"),
        (("--agents", "4", "--slo", "1:-1"), "TTFT:TPOT"),
        (("--agents", "4", "--share", "1"), "--share is 1"),
        (("--agents", "4", "--most", "0"), "--most is 0"),
        (("--agents", "4", "--simulated", "0"), "--simulated is 0"),
        (("--agents", "4", "--profile", "nope"), "--profile nope"),
        (("--agents", "4", "--policy", "fifo"), "'fifo' is unknown"),
    ],
)
def test_a_bad_argument_is_a_one_line_error(more, said, small: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as error:
        cli.main(["plan", "augmentation-mix", "--profile", str(small), *SHORT, *more])
    assert error.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]
