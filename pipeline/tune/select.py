"""The best few of a study, judged again on sessions that chose none of them, and which of them is taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..results.tuning import DEFAULTS
from .bench import Bench, Capacities, collect
from .score import Job, Tally, Yardstick, jobs_of


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    trial: int
    settings: SchedulerSettings
    tuned: float  # score on the sessions tuned on
    standing: float  # that score less what is broken there
    feasible: bool  # there


@dataclass(frozen=True, slots=True)
class Judged:
    candidate: Candidate
    tally: Tally  # on the sessions kept for selecting


def candidates(study: optuna.Study, count: int) -> list[Candidate]:
    """The best `count` whole trials, by their score less what they break, and the hand-set defaults.

    A constraint that is missed by a hair on the sessions tuned on may be kept on others, and the other way round: those
    judged on decide. Raises StageError where no trial has run whole.
    """
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not done:
        raise StageError("tune: every trial failed; see the warnings above, mend the cause and run again")
    found = sorted((_candidate(trial) for trial in done), key=lambda one: (-one.standing, one.trial))
    chosen = found[:count]
    return chosen + [one for one in found[count:] if one.name == DEFAULTS]


def _candidate(trial: optuna.trial.FrozenTrial) -> Candidate:
    settings = SchedulerSettings.from_json(trial.user_attrs["settings"])
    name = trial.user_attrs.get("start", f"trial {trial.number}")
    feasible = all(value <= 0 for value in trial.constraints.values())
    standing = trial.intermediate_values[max(trial.intermediate_values)]  # the last report is of all simulations
    return Candidate(name, trial.number, settings, trial.values[0], standing, feasible)


def judge(bench: Bench, units: Capacities, yardstick: Yardstick, found: Sequence[Candidate]) -> list[Judged]:
    """Each candidate on the sessions of `bench`, against stock vLLM there."""
    jobs = jobs_of(bench.params)
    futures = {(index, job): bench.start(job, units, one.settings) for index, one in enumerate(found) for job in jobs}
    metrics = collect(futures, f"tune: {bench.use}")
    judged = []
    for index, one in enumerate(found):
        tally = Tally(yardstick)
        for job in jobs:
            tally.add(job, metrics[index, job])
        judged.append(Judged(one, tally))
    return judged


def choose(judged: Sequence[Judged]) -> Judged:
    """The best of those that keep every constraint on these sessions too; where none does, the one that loses least."""
    return max(judged, key=lambda one: (one.tally.feasible, one.tally.standing))


def default_of(judged: Sequence[Judged]) -> Judged | None:
    return next((one for one in judged if one.candidate.name == DEFAULTS), None)


def over_tuning(winner: Judged, default: Judged, jobs: Sequence[Job]) -> dict[str, float]:
    """What the winner gains over the hand-set defaults on the sessions tuned on and on those selected on, and the
    gap between: how much of the gain held only where it was searched for. `jobs` are those of the search."""
    tuned = winner.candidate.tuned / default.candidate.tuned - 1
    selected = winner.tally.score_of(jobs) / default.tally.score_of(jobs) - 1
    return {"gain_tune": tuned, "gain_select": selected, "over_tuning_gap": tuned - selected}
