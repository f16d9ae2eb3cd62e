"""vLLM's tracing of requests: whether it is on, and the headers that a request came with."""

from collections.abc import Mapping

from .names import AsyncScheduler, Request


def traces_requests(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM was started with --otlp-traces-endpoint."""
    return scheduler.vllm_config.observability_config.otlp_traces_endpoint is not None


def trace_headers(request: Request) -> Mapping[str, str]:
    """`traceparent` and `tracestate` of the caller, if it sent them."""
    return request.trace_headers or {}
