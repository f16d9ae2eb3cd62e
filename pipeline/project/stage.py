"""Runs the command of a stage: a user's error is one line and a failing exit code."""

import logging
import sys
from collections.abc import Callable

logger = logging.getLogger(__name__)


class StageError(RuntimeError):
    """A stage fails for a reason that the user can remove; the message names thing, cause and remedy."""


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's main: an expected error ends it with one line on stderr and exit code 1.

    Expected errors are StageError and AugServe's own ValueErrors (ParamsError, TraceError, BundleError, …). Any other
    error is a bug and keeps its traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        main()
    except (StageError, ValueError) as error:
        # A stage's own module is `__main__` when it runs.
        if not type(error).__module__.startswith(("augserve.", "benchmarks.", "experiments.", "__main__")):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
