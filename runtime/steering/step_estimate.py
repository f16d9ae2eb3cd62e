"""The time of the next step: the settings' linear model, corrected by the steps that were measured."""

from ...models.serving.settings import StepTime

LONGEST_ERROR = 4.0
"""In multiples of the estimate. A step that stalls for longer corrects no more, so that the next steps mend it."""
FARTHEST = 100.0
"""Largest factor on a term of the model, and the inverse of the smallest."""


class StepEstimate:
    """Step time = fixed · (base_s + per_decode_s · decodes) + prompt · per_prefill_token_s · prompt tokens.

    The factors `fixed` and `prompt` start at 1. Each measured step moves both by a share of its error, in proportion to
    their terms (normalised least mean squares; Nagumo and Noda, IEEE Trans. Automatic Control, 1967). They learn the
    attention to long contexts, and an engine slower than the one of the settings.
    """

    def __init__(self, step: StepTime, correction: float) -> None:
        """`correction`: the share of an error that one step corrects, 0 to 1; 0: the model as it is."""
        self._step = step
        self._correction = correction
        self._fixed = 1.0
        self._prompt = 1.0

    def measured(self, step_s: float, prefill_tokens: int, decodes: int) -> None:
        """Note a finished step."""
        fixed_s, prompt_s = self._model_s(decodes), self._step.per_prefill_token_s * prefill_tokens
        norm = fixed_s * fixed_s + prompt_s * prompt_s
        if norm <= 0.0:
            return
        estimate_s = self._fixed * fixed_s + self._prompt * prompt_s
        error_s = min(step_s - estimate_s, LONGEST_ERROR * estimate_s)
        gain = self._correction * error_s / norm
        self._fixed = _bounded(self._fixed + gain * fixed_s)
        self._prompt = _bounded(self._prompt + gain * prompt_s)

    def fixed_s(self, decodes: int) -> float:
        """Time of a step without prompt tokens."""
        return self._fixed * self._model_s(decodes)

    def prefill_tokens(self, time_s: float, most: int) -> int:
        """Prompt tokens that a step computes in `time_s` beside its decodes, between 0 and `most`."""
        per_token_s = self._prompt * self._step.per_prefill_token_s
        if time_s >= most * per_token_s:
            return most
        return max(round(time_s / per_token_s), 0)

    def _model_s(self, decodes: int) -> float:
        return self._step.base_s + self._step.per_decode_s * decodes


def _bounded(factor: float) -> float:
    return min(max(factor, 1.0 / FARTHEST), FARTHEST)
