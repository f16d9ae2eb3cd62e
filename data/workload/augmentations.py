"""The published figures of six augmentations (augmentations.csv) and draws that agree with them."""

import csv
import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError
from pydantic.types import NonNegativeFloat

from .model import WorkloadError

AUGMENTATIONS_FILE = Path(__file__).with_name("augmentations.csv")


class Augmentation(BaseModel):
    """A kind of tool call: times in seconds, lengths in tokens, calls a session. The file names their sources."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: str
    requests: PositiveInt  # requests of this kind in the published mix
    tool_mean_s: PositiveFloat
    tool_sd_s: NonNegativeFloat
    calls_mean: PositiveFloat
    calls_sd: NonNegativeFloat
    context_mean: PositiveFloat
    context_sd: NonNegativeFloat
    result_mean: PositiveFloat
    counted_calls_mean: PositiveFloat
    counted_calls_sd: NonNegativeFloat
    counted_prompt_mean: PositiveFloat
    counted_prompt_sd: NonNegativeFloat
    counted_output_mean: PositiveFloat
    counted_output_sd: NonNegativeFloat
    counted_result_mean: PositiveFloat
    counted_result_sd: NonNegativeFloat
    basis: Literal["published", "counted"]

    @property
    def session_calls(self) -> tuple[float, float]:
        """Mean and sd of the calls of a session, by the row's basis."""
        if self.basis == "counted":
            return self.counted_calls_mean, self.counted_calls_sd
        return self.calls_mean, self.calls_sd

    @property
    def turn_output(self) -> tuple[float, float]:
        """Mean and sd of a turn's output tokens.

        Published basis: the last context without the first prompt and the results, spread over the turns, with the
        counted coefficient of variation. (The contexts in the file are shorter than published.)
        """
        mean, sd = self.counted_output_mean, self.counted_output_sd
        if self.basis == "counted":
            return mean, sd
        calls = self.calls_mean
        published = (self.context_mean - self.counted_prompt_mean - calls * self.result_mean) / (calls + 1)
        return published, published * sd / mean

    @property
    def tool_result(self) -> tuple[float, float]:
        """Mean and sd of the tokens that a tool returns."""
        return self.result_mean, self.counted_result_sd * self.result_mean / self.counted_result_mean

    def tool_time_s(self, random: np.random.Generator) -> float:
        """Draw a tool time: lognormal with the published mean and sd."""
        return lognormal(random, self.tool_mean_s, self.tool_sd_s)


def lognormal(random: np.random.Generator, mean: float, sd: float) -> float:
    """Draw from the lognormal of that mean and standard deviation; `mean` itself where sd is 0."""
    if sd == 0:
        return mean
    variance = math.log1p((sd / mean) ** 2)
    return float(random.lognormal(math.log(mean) - variance / 2, math.sqrt(variance)))


def load_augmentations(path: Path = AUGMENTATIONS_FILE) -> tuple[Augmentation, ...]:
    """Read the table. Raises WorkloadError for a missing file, and for a missing or impossible figure."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        rows = tuple(Augmentation.model_validate(row) for row in csv.DictReader(lines))
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror}; restore it from git") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise WorkloadError(f"{path}: {first['loc'][0]}: {first['msg']}; restore the file from git") from error
    if not rows:
        raise WorkloadError(f"{path}: holds no augmentation; restore it from git")
    return rows
