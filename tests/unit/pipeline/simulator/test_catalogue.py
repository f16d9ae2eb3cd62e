import subprocess
import sys

import pytest

from augserve.pipeline.simulator.catalogue import (
    ABLATIONS,
    CATALOGUE,
    ORACLES,
    PROGRAM_RIVALS,
    RIVALS,
    SESSION_LIMIT,
    SIMULATED,
    STATIC_BUDGET,
    VLLM,
    VLLM_TUNED,
    StaticLimits,
    find,
    static_augserve,
    static_vllm,
)
from augserve.pipeline.simulator.errors import SimulationError


def test_the_catalogue_is_imported_without_vllm() -> None:
    code = "import sys, augserve.pipeline.simulator.catalogue; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_unique() -> None:
    assert len(CATALOGUE) == len(RIVALS) + 1 + len(ABLATIONS) + len(ORACLES) + 1 + len(PROGRAM_RIVALS)


def test_static_limits_are_read_from_a_name() -> None:
    assert find(static_vllm(2048, 64)) == (VLLM, StaticLimits(2048, 64))
    assert find(static_augserve(2048)) == (STATIC_BUDGET, StaticLimits(2048))
    assert find("session-limit@8") == (SESSION_LIMIT, StaticLimits(sessions=8))


@pytest.mark.parametrize("name", ["fifo", "vllm@0x1", "vllm@2048", VLLM_TUNED.name, SESSION_LIMIT.name])
def test_an_unknown_policy_is_refused(name: str) -> None:
    with pytest.raises(SimulationError, match=name):
        find(name)


def test_only_oracles_predict_without_models() -> None:
    assert all(not oracle.needs_models for oracle in ORACLES)
    assert {name for name, policy in SIMULATED.items() if policy.predicts and not policy.needs_models} == {
        oracle.name for oracle in ORACLES
    }
