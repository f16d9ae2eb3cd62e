"""A span of each turn with what AugServe knows of it, where vLLM traces requests (`--otlp-traces-endpoint`).

vLLM makes its span of a request, `llm_request`, in the API server, which no scheduler reaches. AugServe's span is made
in the engine's process, by the provider that vLLM has set up there. The headers of the caller name the parent of both.
"""

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Self

from .. import vllm_compat
from ..sessions.live_turn import LiveTurn
from ..vllm_compat import AsyncScheduler

logger = logging.getLogger(f"vllm.{__name__}")

NAME = "augserve_turn"
Value = str | bool | int | float


class Spans:
    def __init__(self, tracer: Any, propagator: Any) -> None:
        """OpenTelemetry's tracer, and what reads a parent from headers."""
        self._tracer = tracer
        self._propagator = propagator

    @classmethod
    def of(cls, scheduler: AsyncScheduler) -> Self | None:
        """None where vLLM traces no requests, or where OpenTelemetry is not installed, which is logged."""
        if not vllm_compat.traces_requests(scheduler):
            return None
        try:
            trace: Any = import_module("opentelemetry.trace")
            context: Any = import_module("opentelemetry.trace.propagation.tracecontext")
        except ImportError as error:
            logger.warning("augserve: turns have no spans: OpenTelemetry is not installed (%s)", error)
            return None
        return cls(trace.get_tracer("augserve"), context.TraceContextTextMapPropagator())

    def turn_ended(self, live: LiveTurn, now_s: float, reason: str) -> None:
        """Emit the turn's span, from its arrival to now. Takes about 0.1 ms."""
        headers = vllm_compat.trace_headers(live.request)
        span = self._tracer.start_span(
            NAME,
            context=self._propagator.extract(headers) if headers else None,
            start_time=round(live.arrival_s * 1e9),
            attributes={f"augserve.{name}": value for name, value in _facts(live, reason)},
        )
        span.end(end_time=round(now_s * 1e9))


def _facts(live: LiveTurn, reason: str) -> Iterator[tuple[str, Value]]:
    request, forecast = live.request, live.forecast
    yield "request_id", request.request_id
    yield "session", live.session_id
    yield "turn", live.turn
    yield "bundle", live.bundle
    yield "finish_reason", reason
    yield "output_tokens", request.num_output_tokens
    yield "preemptions", request.num_preemptions
    if live.hints.parent_session_id is not None:
        yield "parent_session", live.hints.parent_session_id
    if live.admission_wait_s is not None:
        yield "admission_wait_s", live.admission_wait_s
    if live.first_token_s is not None:
        yield "ttft_s", live.first_token_s - live.arrival_s
    if live.cached_tokens is not None:
        yield "cached_tokens", live.cached_tokens
        yield "evicted_tokens", live.evicted_tokens(live.cached_tokens)
    if forecast is not None:
        yield "forecast.output_tokens", forecast.output_tokens
        yield "forecast.remaining_turns", forecast.remaining_turns
        yield "forecast.pause_s", forecast.pause_s
