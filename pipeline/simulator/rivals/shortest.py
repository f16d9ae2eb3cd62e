"""Shortest job first: by the tokens of the prompt, or of prompt and predicted output together."""

from collections.abc import Sequence

from vllm.v1.request import Request

from .forecasting import ForecastingScheduler
from .ranked import RankedScheduler


class ShortestPromptFirst(RankedScheduler):
    """The classic rule: a static order by the length of the prompt."""

    FIXED = True

    def describe(self, request: Request) -> Sequence[float]:
        return (request.num_prompt_tokens,)


class ShortestJobFirst(ForecastingScheduler):
    """A static order by prompt and predicted output.

    Predicted lengths for LLM queues: Zheng et al., "Response Length Perception and Sequence Scheduling" (NeurIPS 2023,
    arXiv 2305.13144), and Fu et al., "Efficient LLM Scheduling by Learning to Rank" (NeurIPS 2024, arXiv 2408.15792;
    github.com/hao-ai-lab/vllm-ltr).
    """

    FIXED = True

    def describe(self, request: Request) -> Sequence[float]:
        return (request.num_prompt_tokens + self._forecasts[request.request_id].output_tokens,)
