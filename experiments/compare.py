"""The long comparison: every rival on the mix and on coding sessions, on two engines. Not a stage: half an hour.

Run by `make compare` after `dvc repro`; a run that was cut off goes on with the cells that it lacks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from augserve.data.atomic import write_text
from augserve.pipeline.evaluate.params import ComparisonParams
from augserve.pipeline.evaluate.run import TUNED, read_tuned, report
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.project.tracking import git_revision

REPORTS = Path("reports/compare")
TRAINED = Path("reports/train/metrics.json")


@dataclass(frozen=True, slots=True)
class CompareParams(ComparisonParams):
    SECTION: ClassVar[str] = "compare"


def main() -> None:
    report(load_params("compare", CompareParams), REPORTS)
    table = REPORTS / "table.md"
    learned = json.loads(TRAINED.read_text(encoding="utf-8"))
    said = conditions(read_tuned(TUNED)[0].profile, sorted(learned), git_revision())
    write_text(table, said + table.read_text(encoding="utf-8"))


def conditions(tuned_on: str, learned: Sequence[str], revision: str) -> str:
    """What the tables hold under, as Markdown."""
    return (
        f"Made at commit {revision[:12]}. AugServe runs everywhere with the settings tuned on {tuned_on} and the mix, "
        "and with the step times of the engine at hand, as the rivals do. Whoever predicts uses the same models, "
        f"learned from {', '.join(learned)}, other sessions than these. Traces begin with a cold cache.\n\n"
    )


if __name__ == "__main__":
    run_stage(main)
