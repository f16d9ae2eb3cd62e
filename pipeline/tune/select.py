"""Selection: the best candidates of a study run again on other sessions, and the best of them is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..results.tuning import DEFAULTS
from .score import Baseline, Score
from .simulations import Capacities, TuningSimulations, collect


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completed trial, with its results on the sessions of the search."""

    name: str
    trial: int
    settings: SchedulerSettings
    mean: float
    penalised: float
    feasible: bool


@dataclass(frozen=True, slots=True)
class Selected:
    """A candidate with its score on the sessions of selection."""

    candidate: Candidate
    score: Score


def candidates(study: optuna.Study, count: int) -> list[Candidate]:
    """The best `count` completed trials by their penalised score, and the hand-set defaults.

    Infeasible trials may be among them: a constraint that is narrowly missed on these sessions may hold on others.
    Raises StageError where no trial was completed.
    """
    completed = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not completed:
        raise StageError("tune: every trial failed; see the warnings above, remove the cause and run again")
    ranked = sorted(map(_candidate, completed), key=lambda candidate: (-candidate.penalised, candidate.trial))
    return ranked[:count] + [candidate for candidate in ranked[count:] if candidate.name == DEFAULTS]


def _candidate(trial: optuna.trial.FrozenTrial) -> Candidate:
    settings = SchedulerSettings.from_json(trial.user_attrs["settings"])
    name = trial.user_attrs.get("start", f"trial {trial.number}")
    feasible = all(value <= 0 for value in trial.constraints.values())
    penalised = trial.intermediate_values[max(trial.intermediate_values)]  # the last report covers all simulations
    return Candidate(name, trial.number, settings, trial.values[0], penalised, feasible)


def run_candidates(
    simulations: TuningSimulations, capacities: Capacities, baseline: Baseline, found: Sequence[Candidate]
) -> list[Selected]:
    """Run each candidate on the sessions of `simulations`, and score it against the rivals there."""
    scenarios = simulations.params.planned()
    futures = {
        (index, scenario): simulations.start(scenario, capacities, candidate.settings)
        for index, candidate in enumerate(found)
        for scenario in scenarios
    }
    metrics = collect(futures, f"tune: {simulations.use}")
    selected = []
    for index, candidate in enumerate(found):
        score = Score(baseline)
        for scenario in scenarios:
            score.add(scenario, metrics[index, scenario])
        selected.append(Selected(candidate, score))
    return selected


def choose(selected: Sequence[Selected]) -> Selected:
    """The best feasible one by its penalised score; where none is feasible, the best of all."""
    return max(selected, key=lambda one: (one.score.feasible, one.score.penalised))


def default_of(selected: Sequence[Selected]) -> Selected | None:
    return next((one for one in selected if one.candidate.name == DEFAULTS), None)


def gains(winner: Selected, default: Selected) -> dict[str, float]:
    """Gains of the winner over the defaults on the sessions of search and of selection, and the gap between the two.

    The gap is the part of the gain that does not generalise.
    """
    search = winner.candidate.mean / default.candidate.mean - 1
    select = winner.score.mean / default.score.mean - 1
    return {"gain_tune": search, "gain_select": select, "over_tuning_gap": search - select}
