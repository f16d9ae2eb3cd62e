from collections.abc import Callable

import numpy as np
import pytest

from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.drift import DriftReference, Histogram, reference
from augserve.models.serving.onnx_predictor import GRAPHS, PredictorError

MakeSet = Callable[..., TrainingSet]


@pytest.fixture(scope="session")
def made(make_set: MakeSet) -> DriftReference:
    return reference({graph.file: make_set(graph.targets[0]).rows for graph in GRAPHS}, {"output_length": 0.8})


def test_reference_round_trip(made: DriftReference) -> None:
    read = DriftReference.parse(made.render())
    assert read.coverage_80 == {"output_length": 0.8}
    assert read.render() == made.render()
    assert {name: len(one) for name, one in read.histograms.items()} == {
        graph.file.removesuffix(".onnx"): len(graph.features) for graph in GRAPHS
    }


def test_shares_count_missing_values_separately(make_set: MakeSet, made: DriftReference) -> None:
    rows = make_set(GRAPHS[0].targets[0]).rows
    first = made.histograms["turns"][0]
    assert first.shares.sum() == pytest.approx(1)
    assert first.shares[0] == pytest.approx(np.isnan(rows[:, 0]).mean())
    counts = np.bincount(first.bins(rows[:, 0]), minlength=len(first.shares))
    assert first.psi(counts) < 0.01


def test_shifted_values_have_a_high_drift(make_set: MakeSet, made: DriftReference) -> None:
    first = made.histograms["turns"][0]
    moved = first.bins(make_set(GRAPHS[0].targets[0]).rows[:, 0] * 10)
    assert first.psi(np.bincount(moved, minlength=len(first.shares))) > 1


def test_constant_and_missing_features_have_bins() -> None:
    constant = Histogram(np.array([3.0], np.float32), np.array([0.0, 1.0, 0.0]))
    assert constant.bins(np.array([3.0, 4.0, np.nan, -np.inf], np.float32)).tolist() == [1, 2, 0, 1]
    never = Histogram(np.array([], np.float32), np.array([1.0, 0.0]))
    assert never.bins(np.array([np.nan, 1.0], np.float32)).tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b'{"features_version": 2}'])
def test_invalid_content_raises_a_one_line_error(content: bytes) -> None:
    with pytest.raises(PredictorError, match=r"drift\.json") as caught:
        DriftReference.parse(content)
    assert "\n" not in str(caught.value)


def test_another_feature_version_is_refused(made: DriftReference) -> None:
    content = made.render().replace(b'"features_version": ', b'"features_version": 9')
    with pytest.raises(PredictorError, match="features of version 9"):
        DriftReference.parse(content)


def test_a_number_beyond_all_floats_is_one_line(made: DriftReference) -> None:
    with pytest.raises(PredictorError, match=r"drift\.json"):
        DriftReference.parse(made.render().replace(b'"shares": [', b'"shares": [' + b"9" * 400 + b", "))
    with pytest.raises(PredictorError, match=r"drift\.json"):
        DriftReference.parse(made.render().replace(b'"output_length": 0.8', b'"output_length": ' + b"9" * 400))
