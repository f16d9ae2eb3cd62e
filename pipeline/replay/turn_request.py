"""A turn's request: token ids as its prompt, so that its length is exact and it really extends the last one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ...data.workload import Session
from ...runtime.hints import LAST_TOOL, TOOLS_OFFERED
from .endpoint import ServedModel

SESSION_HEADER = "X-Session-ID"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the client tells of a turn beside its prompt."""

    session_ids: bool = False  # the session's id, as a header
    hints: bool = False  # the tools, as AugServe's middleware tells them of a chat request


def turn_body(model: ServedModel, prompt_ids: Sequence[int], session: Session, turn: int, identity: Identity) -> bytes:
    """The JSON of a completion request, streamed. vLLM is made to give just the output's length, and its token ids;
    of another server the length is only the limit."""
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
    if identity.hints:
        body["vllm_xargs"] = _hints(session, turn)
    return json.dumps(body, separators=(",", ":")).encode()


def turn_headers(session: Session, identity: Identity) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if identity.session_ids:
        headers[SESSION_HEADER] = quote(session.session_id, safe=" !#$&'()*+,/:;=?@[]~%")
    return headers


def _hints(session: Session, turn: int) -> dict[str, str | int]:
    hints: dict[str, str | int] = {TOOLS_OFFERED: session.tools_offered}
    call = session.turns[turn - 1].tool_call if turn else None
    if call is not None and call.tool:
        hints[LAST_TOOL] = call.tool
    return hints
