"""`python -m experiments.fidelity`."""

from augserve.pipeline.project.stage import run_stage

from .run import main

if __name__ == "__main__":
    run_stage(main)
