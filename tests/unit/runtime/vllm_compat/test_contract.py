import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from vllm.v1.core import block_pool
from vllm.v1.core.sched.scheduler import Scheduler

from augserve.runtime.vllm_compat import SchedulerOutput, UnsupportedVllmError, check_vllm, contract, names
from augserve.runtime.vllm_compat.supported import TESTED


@pytest.mark.parametrize("release", TESTED)
def test_a_tested_release_starts_without_a_warning(release: str, vllm_log: pytest.LogCaptureFixture) -> None:
    check_vllm(release)
    assert not vllm_log.records


@pytest.mark.parametrize("version", ["0.31.0+rocm", "0.32.1", "0.32.1.dev3+g1234567", "0.29.0rc1"])
def test_another_build_of_a_supported_release_starts_with_one_warning(
    version: str, vllm_log: pytest.LogCaptureFixture
) -> None:
    check_vllm(version)
    (warning,) = vllm_log.records
    assert warning.levelno == logging.WARNING
    assert version in warning.getMessage()


@pytest.mark.parametrize("version", ["0.28.9", "0.34.0", "0.34.0.dev1", "1.0.0", "dev"])
def test_an_unsupported_version_starts_only_with_the_override(version: str, vllm_log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnsupportedVllmError, match="allow_unknown_vllm") as error:
        check_vllm(version)
    assert version in str(error.value)
    assert "\n" not in str(error.value)
    check_vllm(version, allow_unknown=True)
    (warning,) = vllm_log.records
    assert version in warning.getMessage()


@pytest.mark.parametrize("allow", [False, True])
def test_other_parameters_are_refused_even_with_the_override(allow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "schedule", lambda self: None)
    with pytest.raises(UnsupportedVllmError, match=r"AsyncScheduler\.schedule"):
        check_vllm(allow_unknown=allow)


def test_a_missing_method_is_refused_even_with_the_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(block_pool.BlockPool, "touch")
    with pytest.raises(UnsupportedVllmError, match="BlockPool has no touch"):
        check_vllm(allow_unknown=True)


@pytest.mark.parametrize("kind", contract.FIELDS, ids=lambda kind: kind.__name__)
def test_a_missing_field_is_named(kind: type[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "FIELDS", {**contract.FIELDS, kind: contract.FIELDS[kind] + " gone"})
    with pytest.raises(UnsupportedVllmError, match=f"{kind.__name__} has no gone"):
        check_vllm(allow_unknown=True)


def test_further_differences_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "FIELDS", {SchedulerOutput: "one two three"})
    with pytest.raises(UnsupportedVllmError, match=r"SchedulerOutput has no one .*2 more"):
        check_vllm()


def test_a_new_abstract_method_of_the_queue_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "QUEUE_METHODS", contract.QUEUE_METHODS.replace("peek_request ", ""))
    with pytest.raises(UnsupportedVllmError, match=r"RequestQueue\.peek_request"):
        check_vllm()


def test_a_vllm_without_an_imported_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(block_pool, "BlockHashToBlockMap")
    spec = importlib.util.spec_from_file_location(f"{names.__package__}.anew", Path(names.__file__))
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(UnsupportedVllmError, match="BlockHashToBlockMap"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_runtime_imports_without_vllm() -> None:
    code = (
        "import sys; sys.modules['vllm'] = None;"
        "import augserve.runtime, augserve.runtime.plugin, augserve.runtime.recording.recorder;"
        "from augserve.runtime import AugServeMiddleware;"
        "assert not {'xgboost', 'pandas', 'torch'} & set(sys.modules)\n"
        "try: augserve.runtime.AugServeScheduler\n"
        "except ImportError as error: assert 'vLLM' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
