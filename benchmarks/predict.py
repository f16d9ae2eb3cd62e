"""Benchmark `predict`: µs from 1 and from 256 requests to their forecasts, and the memory of the models.

The figures `models` are of all models alone, on held-out rows if `dvc repro prepare` has written them: trees are slower
on rows that differ than on synthetic ones. The others are of the scheduler's work on arriving synthetic requests:
forecasts without and with features.
"""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request

from augserve.models.learning.training_set import read_training_set
from augserve.models.serving.onnx_predictor import TOOL_CALLS, OnnxPredictor
from augserve.models.serving.predictor import Rows
from augserve.models.serving.target import OUTPUT_LENGTH, TOOL_DURATION, Target
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.runtime.prediction.forecaster import PredictorForecaster
from augserve.runtime.sessions.live_turn import LiveTurn, note_arrival, read_hints
from augserve.runtime.sessions.table import SessionTable

from .measure import base_seed, median_and_p99_us, packaged_bundle, write_figures

COUNTS = (1, 256)
EXPECTED = [feature.name for feature in TOOL_CALLS.features].index("expected")
REPEATS = 4000  # predictions of single turns
_RESIDENT = """
import sys
from pathlib import Path
import numpy as np, onnxruntime
from augserve.features.tool_call import TOOL_CALL_FEATURES
from augserve.features.turn import TURN_FEATURES
from augserve.models.serving.onnx_predictor import OnnxPredictor
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident()
predictor = OnnxPredictor.load(Path(sys.argv[1]))
predictor.turns(np.zeros((256, len(TURN_FEATURES)), np.float32))
predictor.tool_duration(np.zeros((256, len(TOOL_CALL_FEATURES)), np.float32))
print((resident() - before) / 1024)
"""


def main() -> None:
    seed = base_seed()
    predictor = packaged_bundle().predictor
    figures: dict[str, float] = {}
    for count in tqdm(COUNTS, desc="predict"):
        figures |= _timings(predictor, count, seed)
    figures["models_on_held_out_rows"] = float((paths.TRAINING / f"{TOOL_DURATION.name}.parquet").is_file())
    figures["artifacts_mb"] = round(sum(path.stat().st_size for path in paths.BUNDLE.iterdir()) / 1e6, 2)
    figures["resident_memory_added_mib"] = round(_resident_mib(paths.BUNDLE), 1)
    write_figures("predict", figures)


def _timings(predictor: OnnxPredictor, count: int, seed: int) -> dict[str, float]:
    """Median and 99th percentile, µs, for `count` requests at once."""
    requests, sessions = _requests(count, seed), SessionTable()
    turns = _arrivals(requests, sessions)
    rows = _held_out(OUTPUT_LENGTH, count, seed)
    calls = _held_out(TOOL_DURATION, count, seed)
    if rows is None or calls is None:
        rows = np.stack([turn.features for turn in turns if turn.features is not None])
        calls = np.stack([turn.pause_features for turn in turns if turn.pause_features is not None])
    forecaster = PredictorForecaster(predictor)
    measured: dict[str, Callable[[], object]] = {
        "models": lambda: (predictor.turns(rows), predictor.tool_duration(calls)),
        "predict": lambda: forecaster.forecast(turns),
        "features_and_predict": lambda: forecaster.forecast(_arrivals(requests, sessions)),
    }
    figures: dict[str, float] = {}
    for name, run in measured.items():
        figures |= median_and_p99_us(f"{name}_{count}_requests", run, max(REPEATS // count, 200))
    return figures


def _held_out(target: Target, count: int, seed: int) -> Rows | None:
    """`count` rows of the test part of all sets, as known at arrival; None without a training table."""
    path = paths.TRAINING / f"{target.name}.parquet"
    if not path.is_file():
        return None
    rows = read_training_set(path, target).part("test").rows
    if target is TOOL_DURATION:
        rows = rows[rows[:, EXPECTED] == 1]
    return rows[np.random.default_rng(seed).choice(len(rows), count)]


def _resident_mib(models: Path) -> float:
    """Memory that the loaded models add to a process with numpy and ONNX Runtime."""
    done = subprocess.run([sys.executable, "-c", _RESIDENT, str(models)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _requests(count: int, seed: int) -> list[Request]:
    rnd = random.Random(seed)
    hints = {"augserve_tools_offered": 3, "augserve_last_tool": "sql"}
    params = SamplingParams(max_tokens=512, extra_args=hints)
    return [
        Request(
            f"request-{number}",
            rnd.choices(range(100, 32_000), k=rnd.randint(100, 2000)),
            params,
            None,
            arrival_time=float(number),
            session_id=f"session-{number}",
        )
        for number in range(count)
    ]


def _arrivals(requests: list[Request], sessions: SessionTable) -> list[LiveTurn]:
    return [note_arrival(request, read_hints(request), sessions, request.arrival_time)[0] for request in requests]


if __name__ == "__main__":
    run_stage(main)
