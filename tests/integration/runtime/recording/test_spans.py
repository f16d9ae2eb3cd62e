"""Spans of turns on vLLM's real scheduler, in OpenTelemetry's own memory exporter."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vllm.config import VllmConfig

from augserve.runtime.recording.spans import NAME

from ..conftest import EngineMaker
from ..requests import running
from ..residency.contexts import CACHE

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
HEADERS = {"traceparent": f"00-{TRACE:032x}-{PARENT:016x}-01"}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """What vLLM sets up in each engine's process, with another exporter."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def traced(config: VllmConfig) -> None:
    """`--otlp-traces-endpoint http://127.0.0.1:4317`"""
    config.observability_config.otlp_traces_endpoint = "http://127.0.0.1:4317"


def facts(span: ReadableSpan) -> dict[str, object]:
    return {name.removeprefix("augserve."): value for name, value in (span.attributes or {}).items()}


def test_a_turn_has_a_span_below_its_caller_s(make_engine: EngineMaker, spans: InMemorySpanExporter) -> None:
    engine = make_engine(change=traced)
    engine.add(1, 100, 4, "s", trace_headers=HEADERS)
    engine.drain()
    (span,) = spans.get_finished_spans()
    assert (span.name, span.context.trace_id) == (NAME, TRACE)  # type: ignore[union-attr]
    assert span.parent is not None
    assert span.parent.span_id == PARENT
    assert span.end_time is not None
    assert span.start_time == pytest.approx(1000.0 * 1e9)
    assert span.end_time == pytest.approx(engine.clock.now_s * 1e9, rel=1e-4)
    expected = {"session": "s", "turn": 0, "finish_reason": "length", "output_tokens": 4, "cached_tokens": 0}
    expected |= {"evicted_tokens": 0, "forecast.output_tokens": 50.0, "bundle": "champion"}
    assert expected.items() <= facts(span).items()


def test_a_held_turn_tells_its_wait_for_admission(make_engine: EngineMaker, spans: InMemorySpanExporter) -> None:
    engine = make_engine(**CACHE, change=traced)
    running(engine, 1, 2000)
    engine.add(2, 2200, 5, "s2", cache_salt="s2")
    engine.step()
    engine.clock.now_s += 7.0
    engine.drain()
    by_session = {facts(span)["session"]: facts(span) for span in spans.get_finished_spans()}
    assert float(str(by_session["s2"]["admission_wait_s"])) > 7.0


def test_without_tracing_there_is_no_span(make_engine: EngineMaker, spans: InMemorySpanExporter) -> None:
    engine = make_engine()
    engine.add(1, 100, 4, "s", trace_headers=HEADERS)
    engine.drain()
    assert not spans.get_finished_spans()
