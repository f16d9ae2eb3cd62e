"""Benchmark `predict`: µs from requests to forecasts, for 1 and for 256 at once."""

import random
from pathlib import Path

from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request

from ...data.atomic import write_json
from ...runtime.prediction import PredictorForecaster
from ...runtime.sessions import SessionTable
from ...runtime.turns import LiveTurn, arrived
from ..params import BaseParams, load_params
from ..stage import run_stage
from .bundle import median_s, packaged_bundle

REPORT = Path("reports/bench/predict.json")
REPEATS = 200


def main() -> None:
    seed = load_params("base", BaseParams).seed
    forecaster = PredictorForecaster(packaged_bundle().predictor)
    figures = {}
    for count in tqdm((1, 256), desc="predict"):
        requests = _requests(count, seed)
        sessions = SessionTable()
        turns = _arrivals(requests, sessions)
        repeats = REPEATS if count == 1 else REPEATS // 4
        forecast_s = median_s(lambda turns=turns: forecaster.forecast(turns), repeats)  # type: ignore[misc]
        both_s = median_s(
            lambda requests=requests, sessions=sessions: forecaster.forecast(_arrivals(requests, sessions)),  # type: ignore[misc]
            repeats,
        )
        figures[f"predict_{count}_requests_us"] = round(forecast_s * 1e6, 1)
        figures[f"features_and_predict_{count}_requests_us"] = round(both_s * 1e6, 1)
    write_json(REPORT, figures)
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")


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
    return [arrived(request, sessions, request.arrival_time)[0] for request in requests]


if __name__ == "__main__":
    run_stage(main)
