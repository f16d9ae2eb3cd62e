"""`python -m augserve.pipeline.code`."""

from ..project.stage import run_stage
from .run import main

if __name__ == "__main__":
    run_stage(main)
