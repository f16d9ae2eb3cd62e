"""The long comparison: every rival on the mix and on coding sessions, on two engines. Not a stage: an hour or two.

Run by `make compare` after `dvc repro`; a run that was cut off goes on with the cells that it lacks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .comparison import ComparisonParams
from .evaluate import report
from .params import load_params
from .stage import run_stage

REPORTS = Path("reports/compare")


@dataclass(frozen=True, slots=True)
class CompareParams(ComparisonParams):
    SECTION: ClassVar[str] = "compare"


def main() -> None:
    report(load_params("compare", CompareParams), REPORTS)


if __name__ == "__main__":
    run_stage(main)
