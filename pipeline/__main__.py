"""`python -m augserve.pipeline STAGE …`: runs one stage of dvc.yaml, the `main` of the stage's `run.py`."""

import sys
from importlib import import_module

from .project.stage import StageError, run_stage

STAGES = (
    "model",
    "gather",
    "public",
    "cards",
    "prepare",
    "train",
    "export",
    "profile",
    "tune",
    "evaluate",
    "report",
    "package",
)


def main() -> None:
    stage = sys.argv[1] if len(sys.argv) > 1 else ""
    if stage not in STAGES:
        raise StageError(f"{stage!r}: unknown stage; known are {', '.join(STAGES)}")
    sys.argv[:2] = [f"python -m augserve.pipeline {stage}"]
    import_module(f".{stage}.run", __package__).main()


if __name__ == "__main__":
    run_stage(main)
