"""The published figures of six augmentations (augmentations.csv) and draws that agree with them."""

import csv
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

AUGMENTATIONS_FILE = Path(__file__).with_name("augmentations.csv")


class AugmentationError(ValueError):
    """The table of augmentations is wrong; the message names the file, the row and the cause."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One type of tool call: times in seconds, lengths in tokens, calls a session. The file says what is counted."""

    kind: str
    requests: int  # how many requests of the mix are of this kind
    tool_mean_s: float
    tool_sd_s: float
    calls_mean: float
    calls_sd: float
    context_mean: float
    context_sd: float
    result_mean: float
    counted_calls_mean: float
    counted_calls_sd: float
    counted_prompt_mean: float
    counted_prompt_sd: float
    counted_output_mean: float
    counted_output_sd: float
    counted_result_mean: float
    counted_result_sd: float
    basis: Literal["published", "counted"]

    @property
    def session_calls(self) -> tuple[float, float]:
        """Mean and sd of the calls a session makes, by the row's basis."""
        if self.basis == "counted":
            return self.counted_calls_mean, self.counted_calls_sd
        return self.calls_mean, self.calls_sd

    @property
    def turn_output(self) -> tuple[float, float]:
        """Mean and sd of a turn's output tokens.

        On the published basis the mean is what the published last context leaves after first prompt and results,
        spread over the turns, with the counted coefficient of variation; the file's contexts are shorter.
        """
        mean, sd = self.counted_output_mean, self.counted_output_sd
        if self.basis == "counted":
            return mean, sd
        calls = self.calls_mean
        published = (self.context_mean - self.counted_prompt_mean - calls * self.result_mean) / (calls + 1)
        return published, published * sd / mean

    @property
    def tool_result(self) -> tuple[float, float]:
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
    """Read the table. Raises AugmentationError for a missing file or column, and for a figure that cannot be."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    except OSError as error:
        raise AugmentationError(f"{path}: {error.strerror}; restore it from git") from error
    rows = list(csv.DictReader(lines))
    if not rows:
        raise AugmentationError(f"{path}: holds no augmentation; restore it from git")
    return tuple(_row(row, path) for row in rows)


def _row(row: dict[str, str], path: Path) -> Augmentation:
    values: dict[str, str | float | int] = {}
    for field in dataclasses.fields(Augmentation):
        text = row.get(field.name)
        where = f"{path}: {field.name} of {row.get('kind')!r}"
        if text is None:
            raise AugmentationError(f"{where} is missing; restore the file from git")
        if field.name in ("kind", "basis"):
            values[field.name] = text
            continue
        try:
            number = float(text)
        except ValueError as error:
            raise AugmentationError(f"{where} is {text!r}, not a number; correct it") from error
        may_be_zero = field.name.endswith(("_sd", "_sd_s"))
        if not math.isfinite(number) or number < 0 or (number == 0 and not may_be_zero):
            raise AugmentationError(f"{where} is {text}: it must be positive; correct it")
        values[field.name] = int(number) if field.type is int else number
    if values["basis"] not in ("published", "counted"):
        raise AugmentationError(f"{path}: basis is {values['basis']!r}: published or counted; correct it")
    return Augmentation(**values)  # type: ignore[arg-type]  # names and kinds are checked above
