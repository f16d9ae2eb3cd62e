import os
import subprocess
import sys
import time

import pytest

from augserve.pipeline.project.stage import StageError
from experiments.fidelity.cores import client_aside, separate

CORES = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="the machine has one core")

SERVER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", os.environ["TITLE"]])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def server(request):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], env={"TITLE": request.param}, stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    time.sleep(0.1)
    yield process.pid, child
    os.kill(child, 9)
    process.kill()
    process.wait()


@pytest.mark.parametrize("server", ["VLLM::EngineCore"], indirect=True)
def test_the_engine_has_the_first_core_and_the_api_server_the_others(server):
    parent, engine = server
    separate(parent)
    assert os.sched_getaffinity(engine) == {CORES[0]}
    assert os.sched_getaffinity(parent) == set(CORES[1:])


@pytest.mark.parametrize("server", ["something else"], indirect=True)
def test_a_server_without_an_engine_is_refused(server):
    with pytest.raises(StageError, match="EngineCore"):
        separate(server[0])


def test_the_client_leaves_the_engines_core_and_comes_back():
    with client_aside():
        assert os.sched_getaffinity(0) == set(CORES[1:])
    assert os.sched_getaffinity(0) == set(CORES)
