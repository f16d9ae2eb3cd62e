"""`make compare`: every rival on the mix and on agents, on two engines.

It runs after `dvc repro`, is not a stage, and takes 50 minutes. An interrupted run resumes with the missing cells.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from augserve.data.atomic import write_text
from augserve.pipeline.evaluate.params import ComparisonParams
from augserve.pipeline.evaluate.run import read_tuned, report
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.project.tracking import git_revision
from augserve.pipeline.simulator.cells.workers import Workers

REPORTS = Path("reports/compare")


class CompareParams(ComparisonParams):
    SECTION = "compare"


def main() -> None:
    workers = Workers.asked("python -m experiments.compare", __doc__)
    report(load_params(CompareParams), REPORTS, workers)
    table = REPORTS / "table.md"
    learned = sorted(json.loads(paths.TRAINING_METRICS.read_text(encoding="utf-8")))
    text = conditions(read_tuned(paths.TUNED)[0].profile, learned, git_revision())
    write_text(table, text + table.read_text(encoding="utf-8"))


def conditions(tuned_on: str, training_sets: Sequence[str], revision: str) -> str:
    """The conditions of the comparison, as Markdown."""
    return (
        f"- Commit: {revision[:12]}\n"
        f"- Settings of AugServe: tuned on {tuned_on} and the mix; all policies use the step times of each engine\n"
        f"- Training sets of the models, the same for all policies: {', '.join(training_sets)}\n"
        "- Recorded workloads start with a cold cache\n\n"
    )


if __name__ == "__main__":
    run_stage(main)
