"""Directions that papers report, tried on today's vLLM. Not a stage: some minutes, a part of `make compare`.

InferCept above stock vLLM where KV memory is scarce, MARS above InferCept in mean latency. As in the papers a fixed
number of sessions of the six-augmentation mix arrives as a Poisson process and is served to its end, and what counts is
a whole session, the papers' request: its calls are pauses within it, whose time is left out. Stock vLLM stands there
twice: as the papers met it, without prefix caching (a call ended the request, and its context was computed again), and
as it is today.
"""

from tqdm import tqdm

from ...data.workload.token_ids import SPLIT_SEEDS
from ..compare import REPORTS
from ..evaluate.comparison import PROFILES, SEED_STEP
from ..project.params import BaseParams, load_params
from ..simulator.cells.parallel import pool
from .params import DirectionsParams
from .report import Found, policies, write_report
from .trial import Trial, run_trial


def main() -> None:
    params, base = load_params("directions", DirectionsParams), load_params("base", BaseParams)
    path = PROFILES / f"{params.profile}.json"
    seeds = [base.seed + SPLIT_SEEDS["report"] + number * SEED_STEP for number in range(params.seeds)]
    futures = {}
    with pool(params.processes, run_trial) as submit:
        for kv_tokens in params.kv_tokens:
            for load in sorted(params.loads, reverse=True):
                for policy in policies():
                    trials = [Trial(policy, path, kv_tokens, load, params.sessions, seed) for seed in seeds]
                    futures[kv_tokens, load, policy] = [submit(trial) for trial in trials]
        found: Found = {}
        with tqdm(desc="directions", total=sum(map(len, futures.values())), unit="run") as bar:
            for (kv_tokens, load, policy), runs in futures.items():
                for run in runs:
                    found.setdefault((kv_tokens, load), {}).setdefault(policy, []).append(run.result())
                    bar.update()
    print(write_report(REPORTS, found, params))
