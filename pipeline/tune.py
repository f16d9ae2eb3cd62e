"""Stage `tune`: the load's unit (capacity@90 of stock vLLM), then Optuna over the scheduler's settings."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from tqdm import tqdm

from ..data.atomic import write_json, write_text
from ..data.tokens import SPLIT_SEEDS
from ..models.onnx_predictor import model_files
from ..models.settings import SchedulerSettings
from .params import BaseParams, load_params, require
from .simulator.capacity import capacity
from .simulator.cell import Cell, Schedule, load_profile
from .simulator.parallel import Submit, workers
from .simulator.search import starting_points, suggest, trial_settings
from .stage import StageError, run_stage
from .tracking import experiment_run

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
TUNED = Path("models/tuned")
REPORTS = Path("reports/tune")
STORAGE = "sqlite:///optuna.db"
WORKLOAD = "augmentation-mix"
AT_ONCE = 2
"""Trials that run together: no processor idles while the heavier load of one runs. The sampler learns of both after."""
Results = Callable[[], list[dict[str, float]]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TuneParams:
    profile: str
    trials: int
    loads: tuple[float, ...]
    capacity_low: float
    capacity_high: float
    capacity_rounds: int
    warmup_s: float
    window_s: float
    drain_s: float
    processes: int

    def __post_init__(self) -> None:
        require(self.trials >= 1, "tune.trials", self.trials, "1 or more")
        require(bool(self.loads) and min(self.loads) > 0, "tune.loads", self.loads, "a list of positive numbers")
        low, high = self.capacity_low, self.capacity_high
        require(0 < low < high, "tune.capacity_low", low, "positive and below tune.capacity_high")
        require(1 <= self.capacity_rounds <= 12, "tune.capacity_rounds", self.capacity_rounds, "from 1 to 12")
        require(self.warmup_s >= 0, "tune.warmup_s", self.warmup_s, "0 or more")
        require(self.window_s > 0, "tune.window_s", self.window_s, "positive")
        require(self.drain_s >= 0, "tune.drain_s", self.drain_s, "0 or more")
        require(1 <= self.processes <= 256, "tune.processes", self.processes, "from 1 to 256")


class Tuning:
    """One study's fixed parts: what a cell of it is, and what its trials are compared with."""

    def __init__(self, params: TuneParams, seed: int, submit: Submit) -> None:
        self.params = params
        self._submit = submit
        self._seed = seed + SPLIT_SEEDS["tune"]
        self._profile = PROFILES / f"{params.profile}.json"
        self._schedule = Schedule(params.warmup_s, params.window_s, params.drain_s)
        self.defaults = SchedulerSettings(step_time=load_profile(self._profile).linear, profile=params.profile)

    def start(self, cells: Sequence[tuple[str, float, SchedulerSettings]]) -> Results:
        """Start cells of (policy, sessions/s, settings); gives what waits for their metrics."""
        futures = [
            self._submit(Cell(WORKLOAD, policy, self._profile, rate, self._seed, self._schedule, settings, MODELS))
            for policy, rate, settings in cells
        ]
        return lambda: [future.result() for future in futures]

    def metrics(self, cells: Sequence[tuple[str, float, SchedulerSettings]]) -> list[dict[str, float]]:
        return self.start(cells)()

    def stock_capacity(self) -> float:
        """Capacity@90 of stock vLLM, sessions/s: load 1x."""
        params = self.params
        with tqdm(total=2 * params.capacity_rounds, desc="tune: capacity", unit="run") as bar:

            def attainments(rates: Sequence[float]) -> list[float]:
                cells = self.metrics([("vllm", rate, self.defaults) for rate in rates])
                bar.update(len(rates))
                return [cell["attainment"] for cell in cells]

            found = capacity(attainments, params.capacity_low, params.capacity_high, params.capacity_rounds)
        if found is None:
            raise StageError(
                f"tune: stock vLLM misses the SLO at every rate tried, from {params.capacity_low} sessions/s on; "
                "lower tune.capacity_low in params.yaml"
            )
        return found


def study_name(params: TuneParams, seed: int) -> str:
    """Carries a hash of all that a trial's value depends on: a study made with other inputs is never resumed."""
    digest = hashlib.sha256(
        json.dumps({**dataclasses.asdict(params), "trials": 0, "processes": 0, "seed": seed}).encode()
    )
    sources = sorted(Path(__file__).parent.glob("simulator/**/*.py")) + sorted(
        Path(__file__).parents[1].glob("runtime/*.py")
    )
    for path in [
        *(MODELS / name for name in model_files()),
        PROFILES / f"{params.profile}.json",
        *sources,
        Path(__file__),
    ]:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise StageError(f"{path}: {error.strerror}; run `dvc repro tune`") from error
    return f"tune-{digest.hexdigest()[:12]}"


def open_study(name: str, seed: int, storage: str = STORAGE) -> optuna.Study:
    try:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8),
        )
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise StageError(f"{storage}: cannot open the study ({cause}); mend or delete the database") from error


def run_trials(study: optuna.Study, tuning: Tuning, capacity_per_s: float) -> None:
    """Run the trials that the study still lacks, AT_ONCE together; one that fails is recorded, and the study goes on.

    A trial's score is its turns in time per second, in units of what stock vLLM serves at load 1x, mean over the
    loads. (Stock's own result at an overload, the nearer unit, is near 0.)
    """
    if not study.trials:
        for point in starting_points(tuning.defaults):
            study.enqueue_trial(point)
    stock = tuning.metrics([("vllm", capacity_per_s, tuning.defaults)])[0]["effective_throughput"]
    finished = sum(trial.state.is_finished() for trial in study.trials)
    missing = max(0, tuning.params.trials - finished)
    with tqdm(total=tuning.params.trials, initial=tuning.params.trials - missing, desc="tune", unit="trial") as bar:
        while missing > 0:
            started = [_start(study, tuning, capacity_per_s) for _ in range(min(AT_ONCE, missing))]
            for trial, values, results in started:
                _finish(study, trial, values, results, tuning, stock)
                bar.update()
            missing -= len(started)


Started = tuple[optuna.Trial, dict[str, float], Results]


def _start(study: optuna.Study, tuning: Tuning, capacity_per_s: float) -> Started:
    trial = study.ask()
    values = suggest(trial)
    settings = trial_settings(tuning.defaults, values)
    trial.set_user_attr("settings", settings.to_json())
    return trial, values, tuning.start([("augserve", load * capacity_per_s, settings) for load in tuning.params.loads])


def _finish(
    study: optuna.Study, trial: optuna.Trial, values: dict[str, float], results: Results, tuning: Tuning, stock: float
) -> None:
    """Tell the study and MLflow how a trial went."""
    try:
        with experiment_run("tuning", f"trial-{trial.number}", values, {"study": study.study_name}) as run:
            cells = results()
            score = sum(cell["effective_throughput"] / stock for cell in cells) / len(cells)
            loads = zip(tuning.params.loads, cells, strict=True)
            logged = {f"{name}_load{load:g}": value for load, cell in loads for name, value in cell.items()}
            run.log_metrics({**logged, "score": score})
    except Exception as error:  # noqa: BLE001 - one trial's failure, of whatever kind, is not the study's
        logger.warning("tune: trial %d failed: %r", trial.number, error)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    trial.set_user_attr("longest_wait_s", max(cell["longest_wait_s"] for cell in cells))
    study.tell(trial, score)


def write_results(study: optuna.Study, capacity_per_s: float, params: TuneParams) -> None:
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if not done:
        raise StageError("tune: every trial failed; see the warnings above, mend the cause and run again")
    best = study.best_trial
    settings = SchedulerSettings.from_json(best.user_attrs["settings"])
    write_json(TUNED / "scheduler.json", settings.to_json())
    write_json(
        TUNED / "capacity.json", {"profile": params.profile, "workload": WORKLOAD, "sessions_per_s": capacity_per_s}
    )
    write_json(
        REPORTS / "metrics.json",
        {
            "best_score": best.value,
            "best_trial": best.number,
            "default_score": next((trial.value for trial in done if trial.number == 0), None),
            "capacity90_vllm_sessions_per_s": capacity_per_s,
            "trials": len(done),
            "failed": sum(trial.state == optuna.trial.TrialState.FAIL for trial in study.trials),
        },
    )
    rows = [f"{trial.number},{trial.value:.6g},{trial.user_attrs['longest_wait_s']:.4g}\n" for trial in done]
    write_text(REPORTS / "trials.csv", "trial,score,longest_wait_s\n" + "".join(rows))


def main() -> None:
    params = load_params("tune", TuneParams)
    seed = load_params("base", BaseParams).seed
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    study = open_study(study_name(params, seed), seed)
    with workers(params.processes) as submit:
        tuning = Tuning(params, seed, submit)
        capacity_per_s = study.user_attrs.get("capacity_per_s")
        if capacity_per_s is None:
            capacity_per_s = tuning.stock_capacity()
            study.set_user_attr("capacity_per_s", capacity_per_s)
        run_trials(study, tuning, capacity_per_s)
    write_results(study, capacity_per_s, params)


if __name__ == "__main__":
    run_stage(main)
