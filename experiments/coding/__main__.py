"""`python -m experiments.coding` after `dvc repro public`: the figures of coding agents, and how well draws agree.

Writes data/workload/coding_agents/figures.csv and effects.csv from the training part of the recorded coding sessions,
then reports/coding_agents/: quantiles of recorded and drawn marginals, and their distances. It takes a minute.
"""

from augserve.pipeline.project.stage import run_stage

from .run import main

if __name__ == "__main__":
    run_stage(main)
