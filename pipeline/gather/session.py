"""One agent session against an OpenAI server.

A model of 135M parameters does not call tools reliably, so a plan chooses each tool call. The request offers the tools,
the model ends each output itself, and the chosen tool really runs. The assistant's message is the model's text with the
planned call; the tool's message is the real result with the next instruction below. So lengths, times and durations of
tools are real.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ...data.tables import tool_arguments
from ..project.stage import StageError
from ..server.completion import SESSION_HEADER, Completion, stream_completion
from ..server.endpoint import Endpoint
from .plan import SessionPlan, ToolUse, TurnPlan
from .tools.tool import Tool

# Added to the logit of the token that ends an output. Without it, so small a model often repeats itself until the
# limit. A repetition penalty helps less and halves the throughput of a CPU engine.
END_BIAS = 4


class TurnError(StageError):
    """The server refused a turn or broke it off."""


@dataclass(slots=True, kw_only=True)
class GatheredTurn(Completion):
    """A turn as its client saw it; times are Unix seconds."""

    session_id: str
    kind: str
    turn: int
    style: str
    tool_called: str | None


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A tool call as the client timed it."""

    session_id: str
    turn: int  # the turn that made the call
    tool: str
    arguments: str  # JSON
    start_s: float
    duration_s: float
    result: str


@dataclass(frozen=True, slots=True)
class SessionSeen:
    turns: tuple[GatheredTurn, ...]
    calls: tuple[CallSeen, ...]


class SessionRunner:
    """Runs sessions with one client, its tools and a limit on the output; calls `turn_done` after each turn."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        model: str,
        tools: Mapping[str, Tool],
        max_tokens: int,
        end_token_id: int,
        turn_done: Callable[[], object],
    ) -> None:
        self._client = client
        self._url = f"{endpoint.url}/chat/completions"
        self._model = model
        self._tools = tools
        self._max_tokens = max_tokens
        self._end_token_id = end_token_id
        self._turn_done = turn_done

    async def run(self, plan: SessionPlan) -> SessionSeen:
        """Run a session to its end. Raises TurnError if a turn fails."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": plan.draft.system},
            {"role": "user", "content": plan.draft.turns[0].instruction},
        ]
        turns: list[GatheredTurn] = []
        calls: list[CallSeen] = []
        for index, turn in enumerate(plan.draft.turns):
            text, seen = await self._turn(plan, index, turn, messages)
            turns.append(seen)
            self._turn_done()
            if turn.tool_use is not None:
                call = await self._call(plan, index, turn.tool_use)
                calls.append(call)
                messages += call_messages(text, call, plan.draft.turns[index + 1].instruction)
        return SessionSeen(tuple(turns), tuple(calls))

    async def _turn(
        self, plan: SessionPlan, index: int, planned: TurnPlan, messages: list[dict[str, Any]]
    ) -> tuple[str, GatheredTurn]:
        body = {
            "model": self._model,
            "messages": messages,
            "tools": [self._tools[name].specification.to_openai() for name in plan.draft.tools],
            "tool_choice": "none",
            "max_tokens": self._max_tokens,
            "temperature": plan.temperature,
            "seed": (plan.seed + index) % 2**31,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {str(self._end_token_id): END_BIAS},
        }
        headers = {"Content-Type": "application/json", SESSION_HEADER: plan.session_id}
        turn = GatheredTurn(
            session_id=plan.session_id,
            kind=plan.kind,
            turn=index,
            style=planned.style,
            tool_called=planned.tool_use.tool if planned.tool_use else None,
        )
        content = json.dumps(body).encode()
        output = await stream_completion(self._client, self._url, content, headers, turn, time.time)
        if turn.failure is not None:
            raise TurnError(f"turn {index} of {plan.session_id}: {turn.failure}: {turn.detail}")
        return output.text, turn

    async def _call(self, plan: SessionPlan, turn: int, use: ToolUse) -> CallSeen:
        start_s, clock_s = time.time(), time.perf_counter()
        result = await self._tools[use.tool].run(use.arguments)
        duration_s = time.perf_counter() - clock_s
        return CallSeen(plan.session_id, turn, use.tool, json.dumps(use.arguments), start_s, duration_s, result)


def call_messages(text: str, call: CallSeen, instruction: str) -> list[dict[str, Any]]:
    """The next two messages: the model's text with the call, and the result with the next instruction."""
    call_id = f"call_{call.turn}"
    function = {"name": call.tool, "arguments": call.arguments}
    return [
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": f"{call.result}\n\n{instruction}"},
    ]


def argument_facts(call: CallSeen) -> dict[str, Any]:
    """Count, bytes and hashed head of a call's arguments, as the deployed middleware reports them."""
    facts = tool_arguments.argument_facts(call.arguments)
    return {"argument_count": facts.count, "argument_bytes": facts.size_bytes, "argument_head": facts.head}
