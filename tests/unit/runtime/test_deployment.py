from pathlib import Path

import pytest

from augserve.runtime.deployment import Deployment, DeploymentError, parse_deployment


def test_every_key_is_read(tmp_path: Path) -> None:
    section = {
        "mode": "shadow",
        "bundle": "b",
        "traces": str(tmp_path / "t"),
        "source": "s",
        "traces_max_gb": 2,
        "traces_text": True,
        "allow_unknown_vllm": True,
    }
    deployment = parse_deployment({"augserve": section})
    assert deployment == Deployment("shadow", Path("b"), tmp_path / "t", "s", 2.0, True, True)
    assert deployment.traces_max_bytes == 2_000_000_000
    assert (tmp_path / "t").is_dir()


def test_text_is_recorded_only_where_asked_for_and_ten_gigabytes_are_kept(tmp_path: Path) -> None:
    deployment = parse_deployment({"augserve": {"traces": str(tmp_path)}})
    assert deployment.traces_text is False
    assert deployment.traces_max_bytes == 10_000_000_000


def test_the_mode_is_active_unless_said() -> None:
    assert parse_deployment({"augserve": {"bundle": "b"}}).mode == "active"


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({}, "'augserve' is missing"),
        (None, "'augserve' is missing"),
        ({"augserve": []}, "no object"),
        ({"augserve": {"bundel": "b"}}, "unknown key augserve.bundel"),
        ({"augserve": {"mode": "on"}}, "augserve.mode is 'on'"),
        ({"augserve": {"bundle": 3}}, "augserve.bundle is 3"),
        ({"augserve": {"traces": "/nowhere/at/all"}}, "cannot make the folder /nowhere/at/all"),
        ({"augserve": {"traces": "/tmp", "traces_max_gb": 0}}, "traces_max_gb is 0: it must be a number of gigabytes"),
        ({"augserve": {"traces": "/tmp", "traces_max_gb": "9"}}, "traces_max_gb is '9'"),
        ({"augserve": {"traces": "/tmp", "traces_max_gb": True}}, "traces_max_gb is True"),
        ({"augserve": {"traces": "/tmp", "traces_max_gb": float("nan")}}, "traces_max_gb is nan"),
        ({"augserve": {"traces": "/tmp", "traces_text": "yes"}}, "traces_text is 'yes': it must be true or false"),
        ({"augserve": {"allow_unknown_vllm": 1}}, "allow_unknown_vllm is 1: it must be true or false"),
        ({"augserve": {"traces_text": True}}, "augserve.traces_text is given, augserve.traces is not"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(config: object, cause: str) -> None:
    with pytest.raises(DeploymentError, match="additional_config") as error:
        parse_deployment(config)
    assert cause in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mode_that_needs_a_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"augserve\.bundle is missing"):
        Deployment().bundle_folder()
    with pytest.raises(DeploymentError, match="no such folder"):
        Deployment(bundle=tmp_path / "none").bundle_folder()
    assert Deployment(bundle=tmp_path).bundle_folder() == tmp_path
