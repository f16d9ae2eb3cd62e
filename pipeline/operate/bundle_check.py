"""Whether a bundle loads here, and how long its models take to predict."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...models.serving.bundle import Bundle, load_bundle
from ...models.serving.manifest import BundleError
from ...models.serving.onnx_predictor import TOOL_CALLS, TURNS, PredictorError
from ...models.serving.trust import Trust
from ...runtime.prediction.batching import DEADLINE_S, TURN_DEADLINE_S
from .finding import Finding

ROWS = 64
REPEATS = 20


def check_bundle(path: Path, vllm_version: str | None, trust: Trust) -> Iterator[Finding]:
    """Load the bundle as a server does. `vllm_version`: None skips that check. `trust`: the deployment's."""
    start_s = time.perf_counter()
    try:
        bundle = load_bundle(path, vllm_version, trust, tried=True)
    except BundleError as error:
        yield Finding("bundle", "bad", str(error))
        return
    took_s = time.perf_counter() - start_s
    yield Finding("bundle", "ok", f"{path}: version {bundle.version}, verified and tried in {took_s:.1f} s")
    if trust.public_key is not None:
        yield Finding("pin", "ok", "the bundle is signed with bundle_public_key")
    elif trust.sha256 is None:
        yield Finding(
            "pin", "note", f'any bundle at this path is accepted; to pin it: "bundle_sha256": "{bundle.sha256}"'
        )
    else:
        yield Finding("pin", "ok", "the bundle is the one that bundle_sha256 names")
    features = f"{len(TURNS.features)} of a turn, {len(TOOL_CALLS.features)} of a tool call"
    version = bundle.manifest.features_version
    yield Finding("features", "ok", f"{features}, version {version}, as this release computes them")
    yield _check_predictions(bundle)


def _check_predictions(bundle: Bundle) -> Finding:
    rows = np.ones((ROWS, len(TURNS.features)), np.float32)
    calls = np.ones((ROWS, len(TOOL_CALLS.features)), np.float32)

    def predict(count: int) -> float:
        """Seconds for a batch of `count` turns."""
        start_s = time.perf_counter()
        bundle.predictor.turns(rows[:count])
        bundle.predictor.tool_duration(calls[:count])
        return time.perf_counter() - start_s

    try:
        first_s = predict(1)
        one_s = min(predict(1) for _ in range(REPEATS))
        many_s = min(predict(ROWS) for _ in range(REPEATS))
    except PredictorError as error:
        return Finding("prediction", "bad", str(error))
    later = f"then {one_s * 1e3:.2f} ms for one turn, {many_s * 1e3:.2f} ms for {ROWS}"
    times = f"the first takes {first_s * 1e3:.1f} ms, {later}"
    if many_s > (limit_s := DEADLINE_S + ROWS * TURN_DEADLINE_S):
        return Finding("prediction", "bad", f"{times}: more than {limit_s * 1e3:.0f} ms; give the engine a faster core")
    return Finding("prediction", "ok", times)
