import subprocess
import sys

import pytest

from augserve.runtime import vllm_compat
from augserve.runtime.vllm_compat import UnsupportedVllmError, check_vllm


def test_the_installed_vllm_is_supported() -> None:
    check_vllm()


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0.0", "dev"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedVllmError, match=f"vLLM {version} is not supported: AugServe knows 0.32 up to"):
        check_vllm(version)


def test_a_changed_signature_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def schedule(self: object) -> None: ...

    monkeypatch.setattr(vllm_compat, "_SIGNATURES", {schedule: ("self", "throttle_prefills")})
    with pytest.raises(UnsupportedVllmError, match="schedule takes other arguments"):
        check_vllm()


def test_the_runtime_imports_without_vllm() -> None:
    code = (
        "import sys; sys.modules['vllm'] = None;"
        "import augserve.runtime, augserve.runtime.plugin, augserve.runtime.recorder;"
        "from augserve.runtime import AugServeMiddleware; assert not {'xgboost', 'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
