"""The search: many trials of a study, each a few short simulations. The best ones run in whole later (select.py)."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

import optuna
from tqdm import tqdm

from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..project.tracking import experiment_run
from .params import TuneParams
from .score import Baseline, Scenario, Score
from .simulations import Capacities, TuningSimulations
from .space import Space

FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)
Simulate = Callable[[Scenario, SchedulerSettings, bool], dict[str, float]]
"""Metrics of a scenario under some settings; the flag asks for a short simulation."""

logger = logging.getLogger(__name__)


def enqueue(study: optuna.Study, space: Space, starts: Sequence[tuple[str, SchedulerSettings]]) -> None:
    """Put the settings to start from, by name, before all other trials of a new study."""
    if study.get_trials(deepcopy=False):
        return
    points: list[dict[str, Any]] = []
    for name, settings in starts:
        point = space.point(settings)
        if point not in points:
            study.enqueue_trial(point, user_attrs={"start": name})
            points.append(point)


class Search:
    """Runs the trials of a study: all in the same short simulations, so that the sampler can compare them."""

    def __init__(
        self, params: TuneParams, space: Space, baseline: Baseline, simulate: Simulate, parent_id: str
    ) -> None:
        self._params = params
        self._space = space
        self._baseline = baseline
        self._simulate = simulate
        self._parent_id = parent_id
        self._broken = False

    def run(self, study: optuna.Study) -> None:
        """Run the missing trials of the study, `processes` in parallel, until `timeout_s` is over.

        A failing trial is recorded as failed, and the study continues. Raises StageError where the process of a
        simulation died: every later trial would fail.
        """
        params = self._params
        finished = len(study.get_trials(deepcopy=False, states=FINISHED))
        enough = optuna.study.MaxTrialsCallback(params.trials, states=FINISHED)  # counts those of other processes
        with tqdm(total=params.trials, initial=min(finished, params.trials), desc="tune", unit="trial") as bar:  # type: tqdm[Any]
            if finished < params.trials:
                study.optimize(
                    self._objective,
                    n_trials=params.trials - finished,
                    timeout=params.timeout_s,
                    n_jobs=params.processes,
                    catch=(Exception,),
                    callbacks=[enough, _counting(bar)],
                )
        if self._broken:
            raise StageError(
                "tune: the process of a simulation died; lower tune.processes if memory is short, and run again; "
                "finished trials are not repeated"
            )

    def _objective(self, trial: optuna.Trial) -> float:
        tags = {"kind": "trial", "study": trial.study.study_name, "start": trial.user_attrs.get("start", "")}
        try:
            values = self._space.suggest(trial)
            settings = self._space.settings(values)
            trial.set_user_attr("settings", settings.to_json())
            with experiment_run("tuning", f"trial-{trial.number}", values, tags, self._parent_id) as run:
                score = Score(self._baseline)
                for scenario in self._params.planned()[: self._params.screened]:
                    score.add(scenario, self._simulate(scenario, settings, True))
                trial.set_user_attr("longest_wait_s", score.longest_wait_s)
                run.log_metrics(score.flat() | {"score": score.mean})
        except Exception as error:
            logger.warning("tune: trial %d failed: %r", trial.number, error)
            if isinstance(error, BrokenExecutor):
                self._broken = True
                trial.study.stop()
            raise
        return score.mean


def _counting(bar: "tqdm[Any]") -> Callable[[optuna.Study, optuna.trial.FrozenTrial], None]:
    def count(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:  # noqa: ARG001
        bar.update()

    return count


def simulate_on(simulations: TuningSimulations, capacities: Capacities) -> Simulate:
    return lambda scenario, settings, short: simulations.start(scenario, capacities, settings, short=short).result()
