"""The request of a turn. Its prompt is token ids, so its length is exact and it extends the previous turn."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ....data.workload.model import Session
from ....data.workload.token_ids import END_ID
from ....runtime.hints.hints import LAST_TOOL, TOOLS_OFFERED
from ..completion import PARENT_HEADER, SESSION_HEADER
from ..endpoint import ServedModel

_CERTAIN = 100.0  # the largest bias of the API


@dataclass(frozen=True, slots=True)
class Identity:
    """Facts that the client sends besides the prompt."""

    session_ids: bool = False  # the ids of the session and of its parent, as headers
    hints: bool = False  # the tools, as AugServe's middleware sends them for a chat request
    client_limit: bool = False  # the session's own max_tokens, so that vLLM does not know the output's length


def turn_body(model: ServedModel, prompt_ids: Sequence[int], session: Session, turn: int, identity: Identity) -> bytes:
    """The JSON of a streamed completion request.

    vLLM returns exactly the planned output length, and its token ids. For other servers the length is only a limit.
    """
    facts = session.turns[turn]
    body: dict[str, Any] = {
        "model": model.name,
        "prompt": prompt_ids,
        "max_tokens": facts.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if model.is_vllm:
        body |= {"min_tokens": facts.output_tokens, "ignore_eos": True, "return_token_ids": True}
        if identity.client_limit:
            body |= _ended_by_a_token(session, facts.output_tokens)
    if identity.hints:
        body["vllm_xargs"] = _hints(session, turn)
    return json.dumps(body, separators=(",", ":")).encode()


def _ended_by_a_token(session: Session, output_tokens: int) -> dict[str, Any]:
    """The output ends with END_ID: vLLM masks stop tokens until `min_tokens`, then the bias makes it nearly certain."""
    return {
        "max_tokens": session.max_tokens,
        "min_tokens": output_tokens - 1,
        "stop_token_ids": [END_ID],
        "logit_bias": {str(END_ID): _CERTAIN},
    }


def turn_headers(session: Session, parent_id: str | None, identity: Identity) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if identity.session_ids:
        headers[SESSION_HEADER] = _header_value(session.session_id)
        if parent_id is not None:
            headers[PARENT_HEADER] = _header_value(parent_id)
    return headers


def _header_value(session_id: str) -> str:
    return quote(session_id, safe=" !#$&'()*+,/:;=?@[]~%")


def _hints(session: Session, turn: int) -> dict[str, str | int]:
    hints: dict[str, str | int] = {TOOLS_OFFERED: session.tools_offered}
    call = session.turns[turn - 1].longest_call if turn else None
    if call is not None and call.tool:
        hints[LAST_TOOL] = call.tool
    return hints
