"""A study over made-up simulations. Run as a program, a process that works on the study:

python searching.py STORAGE TRIALS PAUSE_S

It prints `ready`, and begins when it reads a line.
"""

import dataclasses
import sys
import time

import optuna

from augserve.data.workload.mix import MIX
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.results.tuning import DEFAULTS
from augserve.pipeline.tune import storage
from augserve.pipeline.tune.params import PlannedLoad, TuneParams
from augserve.pipeline.tune.score import Baseline, Limits
from augserve.pipeline.tune.search import Search, enqueue
from augserve.pipeline.tune.space import read_space

NAME = "known"
PARAMS = TuneParams(
    profile="p",
    scenarios=(
        PlannedLoad(workload=MIX, profile="p", load=2.0),
        PlannedLoad(workload=MIX, profile="p", load=1.0),
        PlannedLoad(workload="coding-agents", profile="p", agents=3),
    ),
    open_rivals=("vllm", "uncached-first@1024"),
    closed_rivals=("vllm", "session-limit@sessions=2"),
    seeds=1,
    trials=6,
    timeout_s=600.0,
    screened=2,
    finalists=3,
    candidates=2,
    selection_seeds=2,
    min_goodput_ratio=0.99,
    min_throughput_ratio=0.98,
    longest_wait_s=5.0,
    capacity_low=6.0,
    capacity_high=18.0,
    capacity_rounds=1,
    short_warmup_s=1.0,
    short_window_s=1.0,
    warmup_s=2.0,
    window_s=4.0,
    swing_window_s=6.0,
    trace_warmup_s=9.0,
    trace_window_s=9.0,
    drain_s=1.0,
    short_agent_warmup_s=3.0,
    short_agent_window_s=4.0,
    agent_warmup_s=5.0,
    agent_window_s=7.0,
    agent_drain_s=1.0,
    pause_cap_s=30.0,
    processes=1,
    storage="sqlite:///optuna.db",
    space={
        "weights.uncached": {"low": 0.1, "high": 10.0, "log": True},
        "weights.output": {"low": 0.01, "high": 1.0, "log": True, "zero": True},
    },
)
SPACE = read_space(PARAMS.space, SchedulerSettings(profile="p"))
STOCK = {"effective_throughput": 50.0, "throughput": 60.0, "longest_wait_s": 1.0}
LIMITS = Limits(0.99, 0.98, 5.0, 60.0)
BASELINE = Baseline(LIMITS, {scenario: {"vllm": STOCK} for scenario in PARAMS.planned()})
STARTS = [(DEFAULTS, SPACE.defaults), ("other", dataclasses.replace(SPACE.defaults, max_wait_s=9.0))]


def simulate(scenario, settings, short):
    """Goodput falls with the weight of `uncached`, and is half as much in a short simulation."""
    goodput = 100 / (1 + settings.weights.uncached) / (2 if short else 1)
    return {"effective_throughput": goodput, "throughput": 60.0, "longest_wait_s": 1.0 + settings.weights.output}


def search(params, simulate=simulate, starts=STARTS):
    """The study, after its missing trials ran."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = storage.open_study(NAME, params, 7)
    enqueue(study, SPACE, starts)
    Search(params, SPACE, BASELINE, simulate, "").run(study)
    return study


if __name__ == "__main__":
    storage.HEARTBEAT_S = 1
    url, trials, pause_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()

    def slow(scenario, settings, short):
        time.sleep(pause_s)
        return simulate(scenario, settings, short)

    search(PARAMS.changed(storage=url, trials=trials), slow)
