"""Selection in two steps: the best trials of a study run in whole, and the best of those again on other sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..results.tuning import CHAMPION, DEFAULTS
from .score import Baseline, Score
from .simulations import Capacities, TuningSimulations, collect


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial, with its score in the short simulations of the search."""

    name: str
    trial: int
    settings: SchedulerSettings
    screened: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate in whole simulations, on the sessions of the search."""

    candidate: Candidate
    score: Score


@dataclass(frozen=True, slots=True)
class Selected:
    """A candidate with its scores on the sessions of the search and on those of selection."""

    candidate: Candidate
    tune: Score
    score: Score


def finalists(study: optuna.Study, count: int) -> list[Candidate]:
    """The best `count` trials by their screening, and those that were given.

    Raises StageError where no trial was completed.
    """
    completed = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not completed:
        raise StageError("tune: every trial failed; see the warnings above, remove the cause and run again")
    ranked = sorted(map(_candidate, completed), key=lambda candidate: (-candidate.screened, candidate.trial))
    return ranked[:count] + _given(ranked[count:])


def _given(found: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in found if candidate.name in (DEFAULTS, CHAMPION)]


def _candidate(trial: optuna.trial.FrozenTrial) -> Candidate:
    settings = SchedulerSettings.from_json(trial.user_attrs["settings"])
    return Candidate(trial.user_attrs.get("start", f"trial {trial.number}"), trial.number, settings, trial.values[0])


def judge(
    simulations: TuningSimulations, capacities: Capacities, baseline: Baseline, found: Sequence[Candidate]
) -> list[Judged]:
    """Run each candidate on the sessions of `simulations`, and score it against the rivals there; best first.

    Infeasible ones may lead: a constraint that is narrowly missed on these sessions may hold on others.
    """
    scenarios = simulations.params.planned()
    futures = {
        (index, scenario): simulations.start(scenario, capacities, candidate.settings)
        for index, candidate in enumerate(found)
        for scenario in scenarios
    }
    metrics = collect(futures, f"tune: {simulations.use}")
    judged = []
    for index, candidate in enumerate(found):
        score = Score(baseline)
        for scenario in scenarios:
            score.add(scenario, metrics[index, scenario])
        judged.append(Judged(candidate, score))
    return sorted(judged, key=lambda one: -one.score.penalised)


def kept(judged: Sequence[Judged], count: int) -> list[Judged]:
    """The best `count` ones, and those that were given."""
    given = _given([one.candidate for one in judged[count:]])
    return [*judged[:count], *(one for one in judged[count:] if one.candidate in given)]


def choose(selected: Sequence[Selected]) -> Selected:
    """The best feasible one by its penalised score; where none is feasible, the best of all.

    Feasible defaults stay unless the gain over them exceeds one standard error, for less is noise (the rule of one
    standard error; Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 7.10).
    """
    best = max(selected, key=lambda one: (one.score.feasible, one.score.penalised))
    default = default_of(selected)
    if default is None or not default.score.feasible or best.score.exceeds(default.score):
        return best
    return default


def default_of(selected: Sequence[Selected]) -> Selected | None:
    return next((one for one in selected if one.candidate.name == DEFAULTS), None)


def gains(winner: Selected, default: Selected) -> dict[str, float]:
    """Gains of the winner over the defaults on the sessions of search and of selection, and the gap between the two.

    The gap is the part of the gain that does not generalise.
    """
    search = winner.tune.mean / default.tune.mean - 1
    select = winner.score.mean / default.score.mean - 1
    return {"gain_tune": search, "gain_select": select, "over_tuning_gap": search - select}
