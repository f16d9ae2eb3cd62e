import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from vllm.v1.core import block_pool
from vllm.v1.core.sched.scheduler import Scheduler

from augserve.runtime.vllm_compat import UnsupportedVllmError, check_vllm, names, relied, vllm_version


def schedule(self: object, throttle_prefills: bool = False) -> None:
    """Takes what vLLM's does, and does something else."""


def test_the_installed_vllm_is_supported() -> None:
    check_vllm()


@pytest.mark.parametrize("version", ["0.28.9", "0.33.0", "1.0.0", "dev"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedVllmError, match=r"AugServe knows 0\.29 up to below 0\.33") as error:
        check_vllm(version)
    assert f"vLLM {version} is not known to AugServe" in str(error.value)
    assert '"allow_unknown_vllm": true' in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["", "+cu130", ".dev3+g1234567"])
def test_another_build_that_does_the_same_is_supported(suffix: str) -> None:
    check_vllm(vllm_version + suffix)


def test_a_changed_method_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "schedule", schedule)
    with pytest.raises(UnsupportedVllmError, match=f"Scheduler.schedule is not as in {vllm_version}; install"):
        check_vllm()


def test_many_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in relied.BEHAVIOURS[Scheduler][:7]:
        monkeypatch.setattr(Scheduler, name, schedule)
    monkeypatch.setattr(relied, "SIGNATURES", {})
    with pytest.raises(UnsupportedVllmError, match=r"Scheduler\.update_from_output is not as in \S+ and 3 more; "):
        check_vllm()


def test_the_override_starts_it_and_warns_of_all_that_differs(
    monkeypatch: pytest.MonkeyPatch, vllm_log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Scheduler, "schedule", schedule)
    check_vllm("0.99.0", allow_unknown=True)
    (warning,) = vllm_log.records
    assert warning.levelno == logging.WARNING
    for part in ("untested on vLLM 0.99.0", "allow_unknown_vllm", "AugServe knows 0.29", "Scheduler.schedule is not"):
        assert part in warning.getMessage()


@pytest.mark.parametrize("allow", [False, True])
def test_other_arguments_are_refused_even_with_the_override(allow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "schedule", lambda self: None)
    with pytest.raises(UnsupportedVllmError, match=r"AsyncScheduler\.schedule takes other arguments"):
        check_vllm(allow_unknown=allow)


def test_a_missing_method_is_refused_even_with_the_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(block_pool.BlockPool, "touch")
    with pytest.raises(UnsupportedVllmError, match="BlockPool has no touch"):
        check_vllm(allow_unknown=True)


@pytest.mark.parametrize(
    ("listed", "kind"), [("REQUEST", "Request"), ("SAMPLING", "SamplingParams"), ("BLOCK", "KVCacheBlock")]
)
def test_a_missing_attribute_of_what_vllm_hands_over_is_named(
    listed: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relied, listed, ("gone",))
    with pytest.raises(UnsupportedVllmError, match=f"{kind} has no gone"):
        check_vllm(allow_unknown=True)


def test_a_missing_field_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relied, "FIELDS", dict.fromkeys(relied.FIELDS, ("gone",)))
    with pytest.raises(UnsupportedVllmError, match="SchedulerOutput has no gone, NewRequestData has no gone"):
        check_vllm()


def test_other_methods_of_the_queue_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relied, "QUEUE_METHODS", relied.QUEUE_METHODS - {"peek_request"})
    with pytest.raises(UnsupportedVllmError, match="RequestQueue has other methods than known: peek_request"):
        check_vllm()


def test_a_vllm_without_a_name_that_is_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(block_pool, "BlockHashToBlockMap")
    spec = importlib.util.spec_from_file_location(f"{names.__package__}.anew", Path(names.__file__))
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(
        UnsupportedVllmError, match=r"lacks .*BlockHashToBlockMap.*; install vLLM 0.29 up to below 0.33"
    ):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_runtime_imports_without_vllm() -> None:
    code = (
        "import sys; sys.modules['vllm'] = None;"
        "import augserve.runtime, augserve.runtime.plugin, augserve.runtime.recording.recorder;"
        "from augserve.runtime import AugServeMiddleware;"
        "assert not {'xgboost', 'pandas', 'torch'} & set(sys.modules)\n"
        "try: augserve.runtime.AugServeScheduler\n"
        "except ImportError as error: assert 'vLLM, which is not installed' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
