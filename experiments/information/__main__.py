"""`python -m experiments.information`."""

from augserve.pipeline.project.stage import run_stage

from .run import main

if __name__ == "__main__":
    run_stage(main)
