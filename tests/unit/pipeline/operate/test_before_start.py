import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from augserve.pipeline.operate.before_start import MIDDLEWARE, SCHEDULER, check_before_start
from augserve.pipeline.operate.finding import Finding

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MODEL))
    return folder


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished / "models/bundle", tmp_path / "bundle"))


def served(model: Path, deployment: dict[str, Any], *more: str) -> list[str]:
    hook = ["--scheduler-cls", SCHEDULER, "--middleware", MIDDLEWARE]
    config = json.dumps({"augserve": deployment})
    return [str(model), "--max-model-len", "1024", *hook, "--additional-config", config, *more]


def by_subject(findings: list[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        assert "\n" not in finding.message
        found.setdefault(finding.about, []).append(finding)
    return found


def bad(findings: list[Finding]) -> dict[str, str]:
    return {finding.about: finding.message for finding in findings if finding.state == "bad"}


def test_a_sound_deployment_has_no_bad_finding(model: Path, bundle: Path, tmp_path: Path) -> None:
    deployment = {"bundle": str(bundle), "traces": str(tmp_path / "traces")}
    findings = list(check_before_start(served(model, deployment), None))
    assert bad(findings) == {}
    found = by_subject(findings)
    assert {"vLLM", "deployment", "bundle", "pin", "features", "prediction", "traces", "middleware", "engine"} <= set(
        found
    )
    assert found["middleware"][0].state == "ok"
    assert found["pin"][0].state == "note"


def test_the_folder_of_the_traces_is_not_made(model: Path, bundle: Path, tmp_path: Path) -> None:
    list(check_before_start(served(model, {"bundle": str(bundle), "traces": str(tmp_path / "traces")}), None))
    assert not (tmp_path / "traces").exists()


def test_a_registry_that_is_away_does_not_stop_the_server(model: Path, bundle: Path) -> None:
    deployment = {"bundle": str(bundle), "registry": "http://127.0.0.1:9"}
    findings = list(check_before_start(served(model, deployment), None))
    assert bad(findings) == {}
    assert by_subject(findings)["registry"][0].state == "note"


def test_a_candidate_is_checked_and_its_settings_are_said_not_to_apply(model: Path, bundle: Path) -> None:
    deployment = {"bundle": str(bundle), "candidate": str(bundle)}
    findings = list(check_before_start(served(model, deployment), None))
    assert "settings" in by_subject(findings)["candidate"][0].message
    bad_one = shutil.copytree(bundle, bundle.with_name("bad"))
    (bad_one / "turns.onnx").write_bytes(b"")
    findings = list(check_before_start(served(model, deployment | {"candidate": str(bad_one)}), None))
    assert "turns.onnx" in bad(findings)["candidate"]


def test_the_pin_that_a_finding_names_is_accepted(model: Path, bundle: Path) -> None:
    first = by_subject(list(check_before_start(served(model, {"bundle": str(bundle)}), None)))
    sha256 = first["pin"][0].message.split('"')[-2]
    pinned = list(check_before_start(served(model, {"bundle": str(bundle), "bundle_sha256": sha256}), None))
    assert by_subject(pinned)["pin"][0].state == "ok"
    other = list(check_before_start(served(model, {"bundle": str(bundle), "bundle_sha256": 32 * "0f"}), None))
    assert "sha256" in bad(other)["bundle"]


@pytest.mark.parametrize(
    ("deployment", "about"),
    [
        ({"mode": "on"}, "deployment"),
        ({}, "bundle"),
        ({"bundle": "/nowhere"}, "bundle"),
        ({"mode": "observe", "traces": "/nowhere/at/all"}, "traces"),
    ],
)
def test_a_wrong_deployment_is_bad(model: Path, deployment: dict[str, Any], about: str) -> None:
    assert list(bad(list(check_before_start(served(model, deployment), None)))) == [about]


def test_a_damaged_bundle_is_bad(bundle: Path) -> None:
    assert bad(list(check_before_start([], bundle))) == {}
    (bundle / "turns.onnx").write_bytes(b"nothing")
    assert "turns.onnx is damaged" in bad(list(check_before_start([], bundle)))["bundle"]


@pytest.mark.parametrize(
    ("more", "about", "word"),
    [
        (["--pipeline-parallel-size", "2", "--no-async-scheduling"], "engine", "asynchronous scheduling"),
        (["--max-num-seqs", "many"], "arguments", "--max-num-seqs"),
        (["--max-model-len", "9999"], "engine", "9999"),
    ],
)
def test_arguments_that_stop_the_start_are_bad(model: Path, more: list[str], about: str, word: str) -> None:
    findings = list(check_before_start(served(model, {"mode": "observe"}, *more), None))
    assert word in bad(findings)[about]


def test_a_server_without_the_scheduler_is_bad(model: Path) -> None:
    assert SCHEDULER in bad(list(check_before_start([str(model)], None)))["scheduler"]


def test_features_in_use_are_told_as_in_the_support_matrix(model: Path) -> None:
    more = ("--no-enable-prefix-caching", "--scheduling-policy", "priority")
    found = by_subject(list(check_before_start(served(model, {"mode": "observe"}, *more), None)))["support"]
    states = {finding.message.split(" (")[0].split(":")[0]: finding.state for finding in found}
    assert states == {"No prefix caching": "note", "Priority policy": "ok"}


def test_middleware_before_ours_is_a_note(model: Path) -> None:
    arguments = [str(model), "--scheduler-cls", SCHEDULER, "--middleware", "other.Keys", "--middleware", MIDDLEWARE]
    arguments += ["--additional-config", '{"augserve": {"mode": "observe"}}']
    (finding,) = by_subject(list(check_before_start(arguments, None)))["middleware"]
    assert finding.state == "note"
    assert "other.Keys" in finding.message


def test_early_refusal_without_the_middleware_is_bad(model: Path, bundle: Path) -> None:
    config = json.dumps({"augserve": {"bundle": str(bundle), "refuse_after_s": 20}})
    arguments = [str(model), "--scheduler-cls", SCHEDULER, "--additional-config", config]
    assert "refuse_after_s" in bad(list(check_before_start(arguments, None)))["middleware"]
