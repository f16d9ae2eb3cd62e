import subprocess
from pathlib import Path

import onnx
import pytest

from augserve.models.serving import trial
from augserve.models.serving.onnx_predictor import PredictorError, model_files
from augserve.models.serving.trial import try_models


@pytest.fixture
def models(onnx_folder: Path) -> dict[str, bytes]:
    return {name: (onnx_folder / name).read_bytes() for name in model_files()}


def test_good_models_answer_in_another_process(models: dict[str, bytes]) -> None:
    try_models(models)


def test_models_that_do_not_answer_in_time_are_refused(models: dict[str, bytes]) -> None:
    with pytest.raises(PredictorError, match="did not answer"):
        try_models(models, limit_s=0.01)


def test_a_crash_of_the_other_process_is_one_line(models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def killed(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        return run(["bash", "-c", "kill -SEGV $$"], capture_output=True, check=False)

    monkeypatch.setattr(trial.subprocess, "run", killed)
    with pytest.raises(PredictorError, match="exit status -11"):
        try_models(models)


def test_the_cause_of_a_failure_is_named(models: dict[str, bytes]) -> None:
    with pytest.raises(PredictorError, match=r"turns\.onnx") as error:
        try_models(models | {"turns.onnx": b"nothing"})
    assert "\n" not in str(error.value)


def test_models_that_predict_no_number_are_refused(models: dict[str, bytes]) -> None:
    with pytest.raises(PredictorError, match=r"turns\.onnx: it predicts values that are not finite"):
        try_models(models | {"turns.onnx": without_numbers(models["turns.onnx"])})


def without_numbers(content: bytes) -> bytes:
    """The same trees, with NaN in each leaf."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "target_weights":
                attribute.floats[:] = [float("nan")] * len(attribute.floats)
    return bytes(model.SerializeToString())
