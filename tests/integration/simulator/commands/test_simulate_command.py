"""`augserve simulate` on vLLM's scheduler, from arguments to tables, timeline and metrics."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from augserve.data.importers import run as imports
from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.cli import simulate
from augserve.pipeline.cli.scene import read_scene
from augserve.pipeline.prepare.training_turns import read_training_turns
from augserve.pipeline.simulator.profile import KvTransfer, StepProfile
from augserve.pipeline.simulator.record.window import Window

SHORT = ("--warmup", "1", "--window", "4", "--drain", "1", "--rate", "2")


@pytest.fixture
def profile_file(profile: StepProfile, tmp_path: Path) -> str:
    path = tmp_path / "small.json"
    profile.save(path)
    return str(path)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def line(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as error:
            cli.main(["simulate", *arguments])
        assert error.value.code == 1
        text = capsys.readouterr().err
        lines = [each for each in text.splitlines() if each.startswith("error: ")]
        assert len(lines) == 1
        assert "Traceback" not in text
        return lines[0]

    return line


def test_a_run_prints_metrics_and_writes_tables_and_a_timeline(
    profile_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, trace = tmp_path / "out", tmp_path / "trace.json"
    cli.main(
        ["simulate", "augmentation-mix", "--profile", profile_file, *SHORT, "--out", str(out), "--trace", str(trace)]
    )
    printed = capsys.readouterr().out
    assert "effective_throughput" in printed
    turns = read_table(out, "turns").to_pylist()
    keys = [(row["session_id"], row["turn"]) for row in turns]
    assert len(keys) == len(set(keys)) > 5
    arrived = sum(Window(1.0, 5.0).holds(row["arrival_s"]) for row in turns)
    assert re.search(rf"^turns +{arrived}$", printed, re.MULTILINE)

    steps = read_table(out, "steps").to_pylist()
    assert [row["step"] for row in steps] == list(range(len(steps)))
    computed = sum(row["prefill_tokens"] + row["decode_sequences"] for row in steps)
    finished = [row for row in turns if row["finish_s"] is not None]
    assert computed >= sum(row["prompt_tokens"] - row["cached_tokens"] + row["output_tokens"] - 1 for row in finished)
    assert {row["timing"] for row in read_table(out, "tool_calls").to_pylist()} == {"modelled"}

    events = json.loads(trace.read_text())["traceEvents"]
    waiting = [event for event in events if event["name"] == "waiting" and event["ph"] == "X"]
    assert len(waiting) == len(turns)

    monkeypatch.chdir(Path(__file__).parents[4])
    cli.main(["data", "show", str(out)])
    assert f"{len(turns):,}" in capsys.readouterr().out
    assert len(read_training_turns([out])) == len(turns)  # what prepare reads
    again = imports.import_traces("augserve", [out], tmp_path / "again", strict=True)
    assert (again.turns, again.steps) == (len(turns), len(steps))


def test_policies_are_compared_on_one_load(
    profile_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["augmentation-mix", "--profile", profile_file, *SHORT, "--out", str(tmp_path / "out")]
    cli.main(["simulate", *arguments, "--policy", "vllm", "vllm@64x8", "vllm"])
    head = capsys.readouterr().out.splitlines()[0].split()
    assert head == ["metric", "vllm", "vllm@64x8"]
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == {"vllm", "vllm@64x8"}
    budgets = {row["token_budget"] for row in read_table(tmp_path / "out" / "vllm@64x8", "steps").to_pylist()}
    assert budgets == {64}


def test_an_option_adds_host_memory_for_offloading(
    profile: StepProfile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer = KvTransfer(131_072, 64e9, "by hand")
    dataclasses.replace(profile, transfer=transfer).save(tmp_path / "gpu.json")
    arguments = ["augmentation-mix", "--profile", str(tmp_path / "gpu.json"), *SHORT]
    cli.main(["simulate", *arguments, "--kv-offload-gb", "8"])
    assert "\nloaded_tokens" in capsys.readouterr().out
    cli.main(["simulate", *arguments])
    assert "\nloaded_tokens" not in capsys.readouterr().out


def test_recorded_sessions_are_cut_to_the_context_of_the_model(
    profile_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "source": "made",
            "session_id": f"s{number}",
            "turn": turn,
            "arrival_s": number + 5.0 * turn,
            "finish_s": number + 5.0 * turn + 1.0,
            "prompt_tokens": 100 + 20_000 * turn,
            "output_tokens": 20,
        }
        for number in range(10)
        for turn in range(2)
    ]
    write_table(tmp_path / "made" / "turns.parquet", "turns", rows_to_table("turns", rows))
    arguments = ["--profile", profile_file, *SHORT, "--seed", "3", "--out", str(tmp_path / "out")]
    cli.main(["simulate", str(tmp_path / "made"), *arguments])
    assert "10 sessions cut" in capsys.readouterr().out
    assert set(read_table(tmp_path / "out", "turns")["turn"].to_pylist()) == {0}


def test_recording_does_not_change_a_run(profile_file: str, tmp_path: Path) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    simulate.configure(parser)
    scene = read_scene(parser.parse_args(["augmentation-mix", "--profile", profile_file, *SHORT]))
    assert simulate.simulate("vllm", scene, None) == simulate.simulate("vllm", scene, simulate.Recording())


def test_closed_loops_print_a_row_a_number_of_agents_and_policy(
    profile_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["augmentation-mix", "--profile", profile_file, "--pause-cap", "3", "--seeds", "2"]
    times = ["--warmup", "20", "--window", "20", "--drain", "2"]
    cli.main(["simulate", *arguments, *times, "--agents", "2", "5", "--policy", "vllm", "uncached-first"])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["agents", "policy", "steps/min"]
    found = [(row.split()[0], row.split()[1]) for row in rows]
    assert found == [("2", "vllm"), ("2", "uncached-first"), ("5", "vllm"), ("5", "uncached-first")]
    steps = [float(row.split()[2]) for row in rows]
    assert 0 < steps[0] < steps[2]


def test_several_engines_print_a_column_a_policy_and_routing(
    profile_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["augmentation-mix", "--profile", profile_file, "--policy", "vllm", "--replicas", "2"]
    cli.main(["simulate", *arguments, *SHORT, "--routing", "round-robin", "sticky", "--lose", "1@2-3"])
    header = capsys.readouterr().out.splitlines()[0]
    assert re.split(r" {2,}", header) == ["metric", "vllm round-robin", "vllm sticky"]


def test_a_closed_loop_is_recorded_with_its_sub_agents(
    profile_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"source": "made", "session_id": name, "turn": turn, "parent_session_id": parent,
         "arrival_s": begin_s + 4.0 * turn, "finish_s": begin_s + 4.0 * turn + 0.5,
         "prompt_tokens": 100 + 50 * turn, "output_tokens": 10}
        for number in range(4)
        for name, parent, begin_s in ((f"s{number}", None, 0.0), (f"s{number}-child", f"s{number}", 1.0))
        for turn in range(3 if parent is None else 1)
    ]  # fmt: skip
    write_table(tmp_path / "made" / "turns.parquet", "turns", rows_to_table("turns", rows))
    arguments = ["--profile", profile_file, "--agents", "2", "--warmup", "5", "--window", "20", "--drain", "1"]
    cli.main(["simulate", str(tmp_path / "made"), *arguments, "--out", str(tmp_path / "out")])
    assert "sessions_per_hour" in capsys.readouterr().out
    turns = read_table(tmp_path / "out", "turns").to_pylist()
    roots = {row["session_id"] for row in turns if row["parent_session_id"] is None}
    assert {row["parent_session_id"] for row in turns} - {None} <= roots
    assert len(roots) > 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--agents", "0"), "0 agents asked for; ask for 1 or more"),
        (("--agents", "8", "-1"), "-1 agents asked for"),
        (("--agents", "8", "--rate", "2"), "--rate and --agents exclude each other"),
        (("--agents", "8", "--arrivals", "burst"), "--arrivals and --agents exclude each other"),
        (("--agents", "8", "--pause-cap", "-1"), "pause cap of -1.0 s"),
        (("--agents", "8", "--seeds", "0"), "--seeds is 0; it must be 1 or more"),
        (("--agents", "8", "9", "--trace", "t.json"), "give one number of --agents"),
        (("--pause-cap", "1"), "give --agents too"),
        (("--seeds", "2"), "give --agents too"),
        (("--rate", "0"), "--rate is 0.0; it must be a positive number"),
        (("--rate", "-2"), "--rate is -2.0"),
        (("--rate", "nan"), "--rate is nan"),
        (("--load", "-1"), "--load is -1.0"),
        (("--window", "0"), "--window is 0.0"),
        (("--drain", "-1"), "--drain is -1.0"),
        (("--seed", "-1"), "--seed is -1"),
        (("--kv-offload-gb", "1"), "bandwidth to host memory"),
        (("--policy", "fifo"), "'fifo' is unknown"),
        (("--policy", "augserve"), "give --bundle"),
        (("--agents", "8", "--window", "nan"), "--window is nan"),
        (("--bundle", "none-here"), "bundle none-here: no such folder"),
        (("--load", "1"), "--load"),
        (("--replicas", "0"), "--replicas is 0"),
        (("--replicas", "2", "--lose", "2@1"), "--lose 2@1"),
        (("--lose", "0@1"), "every engine is away"),
        (("--replicas", "2", "--lose", "1"), "RANK@S"),
    ],
)
def test_a_bad_argument_is_a_one_line_error(refused, profile_file, tmp_path, monkeypatch, arguments, said) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert said in refused("augmentation-mix", "--profile", profile_file, *arguments)


def test_a_missing_workload_and_an_existing_output_are_one_line_errors(refused, profile_file, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert "none" in refused("none", "--profile", profile_file)
    assert str(tmp_path) in refused("augmentation-mix", "--profile", profile_file, "--out", str(tmp_path))
    assert "none" in refused("none", "--profile", profile_file, "--agents", "2")


def test_a_missing_or_inconsistent_profile_is_a_one_line_error(refused, profile_file, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert "run `dvc repro profile` or give --profile PATH" in refused("augmentation-mix")
    value = json.loads(Path(profile_file).read_text())
    Path(profile_file).write_text(json.dumps(value | {"tokens": [1, 512]}))
    assert "before the budget of 1024" in refused("augmentation-mix", "--profile", profile_file)


def test_a_workload_longer_than_the_models_context_is_a_one_line_error(refused, profile_file, tmp_path) -> None:  # type: ignore[no-untyped-def]
    value = json.loads(Path(profile_file).read_text())
    value["limits"]["max_model_len"] = 1100
    Path(profile_file).write_text(json.dumps(value))
    assert "1100" in refused("augmentation-mix", "--profile", profile_file, *SHORT)
