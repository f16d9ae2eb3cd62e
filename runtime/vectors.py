"""What features/ is told of a live turn."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..features.history import SessionHistory, ToolHistory
from ..features.tool_call import ToolCallFacts, tool_call_features
from ..features.turn import TAIL_TOKENS, TurnFacts, turn_features
from .hints import Hints

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams
    from vllm.v1.request import Request


def turn_vectors(
    request: "Request", params: "SamplingParams", turn: int, hints: Hints, history: SessionHistory, tools: ToolHistory
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of the turn that arrives, and of the tool call that may follow it.

    Which tool the turn will call is not known yet: the session's last one stands for it.
    """
    facts = TurnFacts(
        prompt_tokens=request.num_prompt_tokens,
        turn=turn,
        max_tokens=request.max_tokens,
        temperature=params.temperature,
        structured=params.structured_outputs is not None,
        tools_offered=hints.tools_offered,
        tail_token_ids=(request.prompt_token_ids or [])[-TAIL_TOKENS:],
    )
    pause = ToolCallFacts(history.last_tool, turn)
    return turn_features(facts, history, tools), tool_call_features(pause, history, tools)
