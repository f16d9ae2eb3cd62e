import dataclasses

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.evaluate.evaluation import Evaluation

from .comparing import PARAMS, evaluation_of


def test_cells_state_the_step_times_of_their_own_engine():
    own = StepTime(0.1, 0.2, 0.3, 0.4)
    settings = SchedulerSettings(profile="tuned-on")
    params = PARAMS.changed(profiles=("tuned-on", "p"))
    evaluation = Evaluation(params, 1, settings, guess_per_s=1.0, step_times={"tuned-on": settings.step_time, "p": own})
    cells = [evaluation.cell(("augmentation-mix", profile), "augserve", 5.0) for profile in params.profiles]
    assert cells[0].settings == settings  # the tuned settings as they are
    assert cells[1].settings == dataclasses.replace(settings, step_time=own, profile="p")


def test_an_own_workload_runs_on_its_own_engine_alone():
    own, times = {"coding-agents": "own"}, {"own": StepTime(0.1), "p": StepTime(0.2)}
    params = PARAMS.changed(agent_workloads=("coding-agents", "mixed"), profiles=("p", "q"))
    evaluation = Evaluation(params, 1, SchedulerSettings(), None, step_times=times, own_profiles=own)
    assert evaluation.agent_jobs == [("coding-agents", "own"), ("mixed", "p"), ("mixed", "q")]
    assert ("augmentation-mix", "p") in evaluation.jobs
    cell = evaluation.agent_cell(evaluation.agent_jobs[0], "augserve", 3, 0)
    assert (cell.profile.stem, cell.settings.profile, cell.settings.step_time) == ("own", "own", times["own"])


def test_every_seed_has_its_own_sessions_which_all_policies_share():
    evaluation = evaluation_of(PARAMS)
    cells = [evaluation.cell(("augmentation-mix", "p"), policy, 5.0, n) for policy in PARAMS.policies for n in (0, 1)]
    assert [cell.seed for cell in cells] == [1, 1001, 1, 1001]
