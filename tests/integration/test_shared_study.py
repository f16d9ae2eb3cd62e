"""One study in a real PostgreSQL that the test starts: two processes work on it, and one of them is killed."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[1] / "unit/pipeline/tune/searching.py"
TRIALS = 10


def program(name):
    """Debian keeps the server's programs out of PATH."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next((place for place in places if place), None)


@pytest.fixture(scope="module")
def postgres():
    """URL of an empty database. The server refuses to run as root: then it runs as the user of Debian's package."""
    if program("initdb") is None or program("pg_ctl") is None:
        pytest.skip("no PostgreSQL server here; install Debian's package postgresql, as .ci/run does")
    user = None
    if os.getuid() == 0:
        user = next(
            (name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None
        )
        if user is None:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path may have 107 characters
    try:
        if user is not None:
            shutil.chown(folder, user)

        def run(*command):
            subprocess.run(command, user=user, cwd=folder, check=True, capture_output=True, timeout=120)

        data = folder / "data"
        run(program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -k {folder} -c fsync=off"
        run(program("pg_ctl"), "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run(program("pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def working(storage, folder):
    """A process that works on the study once it reads a line, in a folder of its own as on another machine."""
    folder.mkdir()
    command = [sys.executable, str(PROGRAM), storage, str(TRIALS), "0.3"]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def start(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def trials_of(storage):
    return optuna.load_study(study_name="known", storage=storage).trials


def until(holds, process, limit_s=120):
    end = time.monotonic() + limit_s
    while not holds():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < end
        time.sleep(0.2)


def test_two_processes_share_a_study_and_the_death_of_one_loses_no_finished_trial(postgres, tmp_path):
    def finished():
        try:
            return {trial.number: trial for trial in trials_of(postgres) if trial.state.is_finished()}
        except (KeyError, IntegrityError, ProgrammingError):  # the study and its tables are being made
            return {}

    def both_run():
        return len(finished()) >= 2 and sum(trial.state == TrialState.RUNNING for trial in trials_of(postgres)) == 2

    with working(postgres, tmp_path / "one") as doomed, working(postgres, tmp_path / "two") as other:
        start(doomed, other)
        until(both_run, doomed)
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        before = finished()
        assert other.wait(timeout=200) == 0
    assert doomed.returncode == -signal.SIGKILL

    after = {trial.number: trial for trial in trials_of(postgres)}
    for number, trial in before.items():
        assert (after[number].state, after[number].values) == (trial.state, trial.values)
    states = [trial.state for trial in after.values()]
    assert TRIALS <= sum(state.is_finished() for state in states) <= TRIALS + 1
    assert states.count(TrialState.RUNNING) + states.count(TrialState.FAIL) <= 1  # of the killed process
    assert any(trial.user_attrs.get("start") == "defaults" for trial in after.values())
