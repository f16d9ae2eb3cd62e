import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from augserve.runtime.deployment import (
    Deployment,
    DeploymentError,
    parse_deployment,
    read_deployment,
)

from ...damage import damaged


def test_every_key_is_read(tmp_path: Path) -> None:
    section = {
        "mode": "shadow",
        "bundle": "b",
        "bundle_sha256": None,
        "bundle_public_key": 32 * "1e",
        "registry": "https://training-host",
        "alias": "challenger",
        "candidate": "c",
        "share": 0.2,
        "poll_s": 10,
        "settings": {"slo.ttft_s": 2.0, "max_wait_s": 30},
        "traces": str(tmp_path / "t"),
        "source": "s",
        "traces_max_gb": 2,
        "traces_max_days": 7.5,
        "traces_text": True,
        "refuse_after_s": 20.0,
        "session_headers": {"X-My-Session": "X-My-Parent"},
        "allow_unknown_vllm": True,
    }
    deployment = parse_deployment({"augserve": section})
    assert deployment.model_dump() == section | {"bundle": Path("b"), "candidate": Path("c"), "traces": tmp_path / "t"}
    assert deployment.traces_max_bytes == 2_000_000_000
    assert deployment.overrides == "max_wait_s=30, slo.ttft_s=2.0"
    assert (tmp_path / "t").is_dir()


def test_by_default_the_mode_is_active_and_traces_hold_ten_gigabytes_without_text(tmp_path: Path) -> None:
    deployment = parse_deployment({"augserve": {"traces": str(tmp_path)}})
    assert deployment.mode == "active"
    assert deployment.traces_text is False
    assert deployment.traces_max_bytes == 10_000_000_000


@pytest.mark.parametrize("config", [{}, None, {"augserve": []}])
def test_without_its_key_the_server_does_not_start(config: object) -> None:
    with pytest.raises(DeploymentError, match="'augserve'"):
        parse_deployment(config)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"bundel": "b"}, "bundel"),
        ({"mode": "on"}, "mode"),
        ({"bundle": 3}, "bundle"),
        ({"bundle": ""}, "bundle"),
        ({"source": ""}, "source"),
        ({"bundle": "b", "bundle_sha256": 32 * "0F"}, "bundle_sha256"),
        ({"bundle": "b", "settings": {"slo": {"ttft_s": 2.0}}}, "settings"),
        ({"bundle": "b", "settings": {"slo.ttft_s": 0.0}}, "settings"),
        ({"bundle": "b", "settings": {"slo.ttft_s": "2"}}, "settings"),
        ({"bundle": "b", "settings": {"residency.nothing": 1.0}}, "settings"),
        ({"settings": {"slo.ttft_s": 2.0}}, "settings"),
        ({"bundle_sha256": 32 * "0f"}, "bundle_sha256"),
        ({"bundle_public_key": 32 * "0f"}, "bundle_public_key"),
        ({"bundle": "b", "bundle_public_key": "key.pem"}, "bundle_public_key"),
        ({"bundle": "b", "registry": "http://training-host"}, "registry"),
        ({"bundle": "b", "registry": "https://"}, "registry"),
        ({"bundle": "b", "registry": "sqlite:///mlflow.db"}, "registry"),
        ({"bundle": "b", "registry": "https://me:secret@training-host"}, "registry"),
        ({"bundle": "b", "registry": "https://host", "bundle_sha256": 32 * "0f"}, "registry"),
        ({"registry": "https://host"}, "registry"),
        ({"bundle": "b", "candidate": "c", "share": 0.0}, "share"),
        ({"bundle": "b", "candidate": "c", "share": 1}, "share"),
        ({"bundle": "b", "candidate": "c", "bundle_sha256": 32 * "0f"}, "candidate"),
        ({"bundle": "b", "share": 0.1}, "share"),
        ({"candidate": "c"}, "candidate"),
        ({"bundle": "b", "alias": "champion"}, "alias"),
        ({"bundle": "b", "registry": "https://host", "poll_s": 0}, "poll_s"),
        ({"traces": "/nowhere/at/all"}, "traces"),
        ({"traces": "/tmp", "traces_max_gb": 0}, "traces_max_gb"),
        ({"traces": "/tmp", "traces_max_gb": "9"}, "traces_max_gb"),
        ({"traces": "/tmp", "traces_max_gb": True}, "traces_max_gb"),
        ({"traces": "/tmp", "traces_max_gb": float("nan")}, "traces_max_gb"),
        ({"traces": "/tmp", "traces_max_days": 0}, "traces_max_days"),
        ({"traces_max_days": 2}, "traces_max_days"),
        ({"traces": "/tmp", "traces_text": "yes"}, "traces_text"),
        ({"allow_unknown_vllm": 1}, "allow_unknown_vllm"),
        ({"refuse_after_s": 0}, "refuse_after_s"),
        ({"refuse_after_s": float("nan")}, "refuse_after_s"),
        ({"mode": "observe", "refuse_after_s": 5}, "refuse_after_s"),
        ({"traces_text": True}, "traces_text"),
        ({"traces_max_gb": 2}, "traces_max_gb"),
    ],
)
def test_a_wrong_key_is_refused_in_one_line_that_names_it(section: dict[str, Any], key: str) -> None:
    with pytest.raises(DeploymentError, match=rf"additional_config: augserve\.{key}\b") as error:
        parse_deployment({"augserve": section})
    assert "\n" not in str(error.value)


def test_a_misspelt_key_is_named_before_other_errors() -> None:
    with pytest.raises(DeploymentError, match="traces_maxgb"):
        parse_deployment({"augserve": {"mode": "on", "traces_maxgb": 3}})


def test_a_mode_that_needs_a_bundle_refuses_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"augserve\.bundle"):
        Deployment().bundle_folder()
    with pytest.raises(DeploymentError, match=str(tmp_path / "none")):
        Deployment(bundle=tmp_path / "none").bundle_folder()
    assert Deployment(bundle=tmp_path).bundle_folder() == tmp_path


@pytest.mark.fuzz
@given(damaged({"augserve": {"bundle": "b", "mode": "shadow", "traces": "t", "traces_max_gb": 1, "refuse_after_s": 9}}))
def test_a_damaged_configuration_is_refused_or_sound(config: Any) -> None:
    with contextlib.suppress(DeploymentError):
        assert isinstance(read_deployment(config), Deployment)
