"""The metrics that tables show: title, format, and text of a value. Needs no pandas."""

from collections.abc import Sequence

from .metrics_file import BASES, Metrics

GOODPUT = "effective_throughput"
SESSION_GOODPUT = "session_effective_throughput"
STEPS = "steps_per_minute"
STEPS_OVER_STOCK = f"steps_over_{BASES[0]}"
NONE = "–"
"""Not run, not searched, without a value, or a ratio to zero."""
COLUMNS = {
    GOODPUT: ("goodput, turns/s", ".1f"),
    SESSION_GOODPUT: ("session goodput, /s", ".2f"),
    "throughput": ("throughput, turns/s", ".1f"),
    "attainment": ("SLO attainment", ".1%"),
    "ttft_p50_s": ("TTFT p50, s", ".2f"),
    "ttft_p99_s": ("TTFT p99, s", ".1f"),
    "longest_wait_s": ("longest wait, s", ".1f"),
    "preemptions": ("preemptions", ".0f"),
    "prefix_hit_rate": ("prefix hits", ".1%"),
}
"""Metric → title and format of its column: open loops."""
AGENT_COLUMNS = {
    STEPS: ("steps/min", ".1f"),
    STEPS_OVER_STOCK: ("× stock vLLM", ".2f"),
    "attainment": ("in SLO", ".1%"),
    "sessions_per_hour": ("sessions/h", ".1f"),
    "session_time_mean_s": ("session time, s", ".0f"),
    "session_time_p90_s": ("its p90", ".0f"),
    "serving_time_mean_s": ("serving time, s", ".0f"),
    "ttft_p50_s": ("TTFT p50, s", ".2f"),
    "ttft_p90_s": ("p90", ".1f"),
    "ttft_p99_s": ("p99", ".1f"),
    "interactivity_p90": ("tokens/s p90", ".1f"),
    "prefix_hit_rate": ("prefix hits", ".1%"),
    "best_hit_rate": ("possible", ".1%"),
    "recompute_share": ("recomputing", ".1%"),
    "longest_wait_s": ("longest wait, s", ".0f"),
}
"""As COLUMNS: closed loops."""
INTERVALS = (GOODPUT, SESSION_GOODPUT, STEPS, STEPS_OVER_STOCK)
"""The metrics that tables show with their intervals."""


def value_text(cell: Metrics, metric: str, form: str, intervals: Sequence[str] = INTERVALS) -> str:
    """`10.0 [9.0–11.0]`; the value alone for a metric outside `intervals` or without interval."""
    if metric not in cell:
        return NONE
    text = format(cell[metric], form)
    if metric not in intervals or f"{metric}_low" not in cell:
        return text
    return f"{text} [{cell[f'{metric}_low']:{form}}–{cell[f'{metric}_high']:{form}}]"
