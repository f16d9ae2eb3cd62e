"""The first prediction of model files, in a process of its own: a hang or a crash there harms no engine."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .onnx_predictor import TOOL_CALLS, TURNS, Graph, OnnxPredictor, PredictorError
from .predictor import Rows

LIMIT_S = 60.0
"""Time for the start of a process, for loading, and for the predictions, which take about a second together."""
MEMORY_BYTES = 4 * 2**30
"""Address space that loading and predicting may take, beyond that of a process that has imported all it needs."""
NICENESS = 5
"""An engine that serves meanwhile goes first."""
ROWS = 64


def try_models(models: Mapping[str, bytes], limit_s: float = LIMIT_S) -> None:
    """Let another process load the models (file name → content) and predict. Raises PredictorError if it does not
    succeed in `limit_s`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in models.items():
            Path(folder, name).write_bytes(content)
        command = [sys.executable, "-m", __name__, folder]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            tried = subprocess.run(command, capture_output=True, env=environment, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise PredictorError(f"the models did not answer within {limit_s:.0f} s; export them again") from error
        except OSError as error:
            raise PredictorError(f"the models cannot be tried in a process: {error}; mend {sys.executable}") from error
    if tried.returncode:
        last = (tried.stderr.decode(errors="replace").split("\n") or [""])[-2:]
        cause = " ".join(last).strip()[:200] or f"exit status {tried.returncode}"
        raise PredictorError(f"the models failed in their first prediction ({cause}); export them again")


def predict_once(folder: Path) -> None:
    """Load the models of a folder and predict for rows of all sizes, missing values among them. Raises PredictorError
    for an answer that is not finite."""
    predictor = OnnxPredictor.load(folder)
    turns = predictor.turns(_rows(TURNS))
    of_turns = turns.output_length, turns.session_remaining, turns.session_remaining_tokens, turns.ends_in_tool[:, None]
    for graph, answers in ((TURNS, of_turns), (TOOL_CALLS, (predictor.tool_duration(_rows(TOOL_CALLS)),))):
        if not all(np.isfinite(answer).all() for answer in answers):
            raise PredictorError(f"{graph.file}: it predicts values that are not finite")


def _rows(graph: Graph) -> Rows:
    random = np.random.default_rng(0)
    rows = random.lognormal(0.0, 5.0, (ROWS, len(graph.features))).astype(np.float32)
    rows[random.random(rows.shape) < 0.3] = np.nan
    rows[0] = np.nan
    return rows


if __name__ == "__main__":
    os.nice(NICENESS)
    taken_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken_bytes + MEMORY_BYTES,) * 2)
    predict_once(Path(sys.argv[1]))
