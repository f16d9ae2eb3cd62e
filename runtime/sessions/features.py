"""The feature vectors of a live turn, computed by features/."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...data.tables.prompt_tail import TAIL_TOKENS, tail_counts
from ...features.session_history import ReturnedCall, SessionHistory
from ...features.shared_history import SharedHistory
from ...features.tool_call import expected_call, tool_call_features
from ...features.turn import TurnFacts, turn_features
from ..hints.hints import Hints

if TYPE_CHECKING:
    from vllm.sampling_params import SamplingParams
    from vllm.v1.request import Request


def returned_calls(hints: Hints) -> tuple[ReturnedCall, ...]:
    """The tool calls whose results a turn brings, according to its hints."""
    return tuple(ReturnedCall(call.tool, None, call.argument_bytes, call.argument_head) for call in hints.calls)


def turn_vectors(
    request: "Request",
    params: "SamplingParams",
    turn: int,
    hints: Hints,
    history: SessionHistory,
    shared: SharedHistory,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of an arriving turn, and of the tool call that may follow it, each of shape (features,).

    The tool of that call is not known yet; the session's last call stands for it.
    """
    token_ids = request.prompt_token_ids  # None for prompts given as embeddings
    facts = TurnFacts(
        prompt_tokens=request.num_prompt_tokens,
        turn=turn,
        max_tokens=request.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        structured=params.structured_outputs is not None,
        tools_offered=hints.tools_offered,
        tail=None if token_ids is None else tail_counts(token_ids[-TAIL_TOKENS:]),
    )
    return turn_features(facts, history, shared), tool_call_features(expected_call(history, turn), history, shared)
