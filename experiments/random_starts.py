"""`python -m experiments.random_starts`: whether the search of `tune` finds settings as good as the known ones.

A study of TRIALS trials begins with random settings; it is told neither the hand-set defaults nor the champion. Its
best trials and the known settings then run in whole, on the sessions of the search and on those of selection. It runs
after `dvc repro`; an interrupted run resumes.
"""

from collections.abc import Sequence

from augserve.data.atomic import write_text
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.project.tracking import experiment_run
from augserve.pipeline.simulator.cells.cell import run_cell
from augserve.pipeline.simulator.cells.parallel import pool
from augserve.pipeline.tune.params import TuneParams, load_tune_params
from augserve.pipeline.tune.report import finished_text, selection_table
from augserve.pipeline.tune.run import measured, search, searched_space, starts, study_name, tuning_simulations
from augserve.pipeline.tune.select import Candidate, Selected, choose
from augserve.pipeline.tune.simulations import TuningSimulations
from augserve.pipeline.tune.space import Space
from augserve.pipeline.tune.storage import open_study, quiet_libraries

TABLE = paths.REPORTS / "random_starts" / "table.md"
TRIALS, FINALISTS, CANDIDATES, MOST_S = 100, 4, 2, 7200.0
KNOWN = -1
"""Number of settings that are no trial."""
REACHED = 0.95
"""Share of the known settings' score that the search is asked to reach."""


def main() -> None:
    params = load_tune_params().changed(trials=TRIALS, finalists=FINALISTS, candidates=CANDIDATES, timeout_s=MOST_S)
    quiet_libraries()
    seed = load_params(BaseParams).seed
    with pool(params.processes, run_cell, None) as submit:
        selected, trials = searched(params, tuning_simulations(params, seed, submit), seed)
    text = table(selected, trials)
    write_text(TABLE, text)
    print(text)


def searched(params: TuneParams, simulations: TuningSimulations, seed: int) -> tuple[list[Selected], str]:
    """The judged candidates, and how many trials were finished."""
    space = searched_space(params, params.profile)
    study = open_study(f"random-starts-{study_name(simulations, space)}", params, seed)
    facts = {"trials": params.trials, "sampler_seed": seed}
    with experiment_run("tuning", study.study_name, facts, {"kind": "study", "study": study.study_name}) as run:
        measurements = measured(study, simulations, space.defaults)
        return search(study, simulations, measurements, space, run.id, known(space)), finished_text(study)


def known(space: Space) -> list[Candidate]:
    """The hand-set defaults and the champion. They are no trials of the study."""
    return [Candidate(name, KNOWN, settings, float("nan")) for name, settings in starts(space)]


def table(selected: Sequence[Selected], trials: str) -> str:
    """Scores on both sets of sessions, and the share of the best known settings' score that the best trial reaches."""
    best_known = max(one.score.mean for one in selected if one.candidate.trial == KNOWN)
    best_found = max(one.score.mean for one in selected if one.candidate.trial != KNOWN)
    rows = selection_table(selected, choose(selected)).to_markdown(index=False, disable_numparse=True)
    return (
        f"{trials}\nScores are geometric means of the ratios to the best rival.\n\n{rows}\n\n"
        f"On the sessions of selection, the best trial reaches {best_found / best_known:.1%} of the score of the best "
        f"known settings (asked {REACHED:.0%}).\n"
    )


if __name__ == "__main__":
    run_stage(main)
