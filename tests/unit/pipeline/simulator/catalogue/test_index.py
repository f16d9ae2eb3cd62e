import subprocess
import sys

import pytest

from augserve.pipeline.simulator.catalogue import (
    ABLATIONS,
    CATALOGUE,
    INFORMED,
    ORACLES,
    PROGRAM_RIVALS,
    RIVALS,
    SESSION_LIMIT,
    SIMULATED,
    TUNED,
    VLLM,
    find,
    tuned,
)
from augserve.pipeline.simulator.catalogue.static_setting import StaticSetting
from augserve.pipeline.simulator.errors import SimulationError


def test_the_catalogue_is_imported_without_vllm() -> None:
    code = "import sys, augserve.pipeline.simulator.catalogue; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_unique() -> None:
    groups = (RIVALS, PROGRAM_RIVALS, TUNED, ABLATIONS, INFORMED, ORACLES)
    assert len(CATALOGUE) == sum(map(len, groups)) + 2  # AugServe, and stock vLLM with an unbounded cache


def test_a_static_setting_is_read_from_a_name() -> None:
    assert find("vllm@2048x64,prefill=512") == (VLLM, StaticSetting(2048, 64, prefill=512))
    assert find("session-limit@sessions=8") == (SESSION_LIMIT, StaticSetting(sessions=8))


@pytest.mark.parametrize("name", ["fifo", "vllm@0x1", "vllm@budget", "vllm@", tuned(VLLM).name, "vllm-tuned@2048"])
def test_an_unknown_policy_is_refused(name: str) -> None:
    with pytest.raises(SimulationError, match=name):
        find(name)


@pytest.mark.parametrize("name", [SESSION_LIMIT.name, "session-limit@2048", "vllm@sessions=8"])
def test_a_limit_on_sessions_belongs_to_its_policy(name: str) -> None:
    with pytest.raises(SimulationError, match="go together"):
        find(name)


def test_only_oracles_predict_without_models() -> None:
    assert all(not oracle.needs_models for oracle in ORACLES)
    assert {name for name, policy in SIMULATED.items() if policy.predicts and not policy.needs_models} == {
        oracle.name for oracle in ORACLES
    }
