"""The dashboard, as one description: each panel has its queries and a sentence on what to do.

`python -m deploy.dashboard` writes Grafana's JSON from it, and `make docs` the guide's table.
"""

from dataclasses import dataclass

RATE = "[5m]"
TRIAL_RATE = "[1h]"
"""A candidate has few turns."""


@dataclass(frozen=True, slots=True)
class Query:
    promql: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    advice: str  # what to do, in one sentence
    unit: str  # Grafana's name of the unit
    queries: tuple[Query, ...]
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def quantile(share: float, histogram: str, by: str = "", where: str = "", rate: str = RATE) -> str:
    """The quantile of a histogram, by labels, over the last five minutes."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{where}{rate})))"


ROWS = (
    Row(
        "Is it on, and does it work?",
        (
            Panel(
                "Bundle and mode",
                "Compare the version with the one that you deployed; roll back if it is another.",
                "short",
                (Query("augserve_info == 1", "{{version}} {{mode}} {{settings}}"),),
                "stat",
            ),
            Panel(
                "Bundles loaded, refused, withdrawn",
                "Refused or withdrawn: read the server's log, and put another bundle into the folder.",
                "short",
                (Query("sum by (result) (increase(augserve_bundle_changes_total[1h]))", "{{result}}"),),
            ),
            Panel(
                "Suspended parts",
                "Anything but 0: read the server's log for the reason, and roll the bundle back if the part is new.",
                "short",
                (Query("augserve_suspended", "{{part}}: {{reason}}"),),
            ),
            Panel(
                "Decisions left to vLLM",
                "A steady rate: read the log's last warning of this reason; vLLM's own behaviour stands meanwhile.",
                "ops",
                (Query(f"sum by (reason) (rate(augserve_fallbacks_total{RATE}))", "{{reason}}"),),
            ),
            Panel(
                "Time of each part (p99)",
                "More than 10 ms: give the engine's process a faster core, or start fewer engines on this host.",
                "s",
                (Query(quantile(0.99, "augserve_part_seconds", "part"), "{{part}}"),),
            ),
        ),
    ),
    Row(
        "What users see",
        (
            Panel(
                "Time to first token",
                "Only p99 is high: some turns wait on purpose, see Held turns. p50 too: add engines.",
                "s",
                tuple(
                    Query(quantile(share, "vllm:time_to_first_token_seconds"), f"p{share * 100:.0f}")
                    for share in (0.5, 0.9, 0.99)
                ),
            ),
            Panel(
                "Time per output token",
                "Above slo.tpot_s: raise slo.tpot_s if users accept it, else lower budget.slack_share.",
                "s",
                tuple(
                    Query(quantile(share, "vllm:request_time_per_output_token_seconds"), f"p{share * 100:.0f}")
                    for share in (0.5, 0.9)
                ),
            ),
            Panel(
                "Turns per minute",
                "It falls while Running and waiting grows: look at Computed again.",
                "short",
                (Query(f"60 * sum(rate(vllm:request_success_total{RATE}))", "finished"),),
            ),
            Panel(
                "Running and waiting",
                "Waiting grows for hours: the load exceeds the engine; add engines.",
                "short",
                (
                    Query("sum(vllm:num_requests_running)", "running"),
                    Query("sum(vllm:num_requests_waiting)", "waiting"),
                ),
            ),
        ),
    ),
    Row(
        "Which sessions hold memory",
        (
            Panel(
                "Computed again",
                "Above a fifth: contexts are lost between turns; lower residency.share, or add KV memory.",
                "percentunit",
                (
                    Query(
                        f'sum(rate(augserve_prompt_tokens_total{{part="again"}}{RATE})) / '
                        f'sum(rate(augserve_prompt_tokens_total{{part!="cached"}}{RATE}))',
                        "of computed prompt tokens",
                    ),
                ),
            ),
            Panel(
                "Working set",
                "At its limit all day: the agents need more memory than there is; admit fewer or add engines.",
                "short",
                (
                    Query("augserve_working_set_tokens", "working set"),
                    Query("augserve_working_set_limit_tokens", "limit"),
                    Query("augserve_pinned_tokens", "pinned"),
                ),
            ),
            Panel(
                "Resident sessions and held turns",
                "Held turns wait for memory on purpose; many for long: lower residency.longest_wait_s or add memory.",
                "short",
                (
                    Query("augserve_resident_sessions", "resident"),
                    Query("augserve_held_turns", "held"),
                ),
            ),
            Panel(
                "Wait for admission",
                "The bound exceeds your clients' time-out: raise the time-out, or lower residency.longest_wait_s.",
                "s",
                (
                    Query(
                        f"sum(augserve_held_turns) / sum(rate(augserve_admission_wait_seconds_count{RATE}))",
                        "expected, of a turn that arrives now (Little's law)",
                    ),
                    Query(quantile(0.9, "augserve_admission_wait_seconds"), "p90 of the admitted"),
                    Query("augserve_admission_bound_seconds", "longest, of a turn that arrives now"),
                    Query("augserve_expected_wait_seconds", "expected, where refuse_after_s is set"),
                    Query("augserve_backlog_seconds", "engine time of all turns that wait and run"),
                ),
            ),
            Panel(
                "Kept contexts, how they ended",
                "Mostly pressure or outlasted: pauses are longer than forecast; lower residency.keep.",
                "ops",
                (Query(f"sum by (by) (rate(augserve_pins_released_total{RATE}))", "{{by}}"),),
            ),
            Panel(
                "Prefix cache hits",
                "It falls while sessions return: look at Working set.",
                "percentunit",
                (
                    Query(
                        f"sum(rate(vllm:prefix_cache_hits_total{RATE})) / "
                        f"sum(rate(vllm:prefix_cache_queries_total{RATE}))",
                        "hits",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Are the forecasts right?",
        (
            Panel(
                "Intervals that hold",
                "Below 60 % for hours: retrain on this server's traces.",
                "percentunit",
                (
                    Query("augserve_coverage", "{{quantity}}"),
                    Query("augserve_coverage_trained", "{{quantity}}, in training"),
                ),
            ),
            Panel(
                "Actual over forecast",
                "The median is far from 1 for hours: retrain on this server's traces.",
                "short",
                tuple(
                    Query(
                        quantile(share, "augserve_forecast_ratio", "quantity", '{bundle="champion"}'),
                        f"{{{{quantity}}}} p{share * 100:.0f}",
                    )
                    for share in (0.1, 0.5, 0.9)
                ),
            ),
            Panel(
                "Drifted features",
                "More than half: the traffic is not that of the training; retrain.",
                "percentunit",
                (Query("avg by (engine) (augserve_psi > bool 0.25)", "engine {{engine}}"),),
            ),
            Panel(
                "Token budget of a step",
                "At its configured value while tokens are slow: check step_time in scheduler.json against this engine.",
                "short",
                (Query("augserve_token_budget", "engine {{engine}}"),),
            ),
        ),
    ),
    Row(
        "Is the candidate better than the champion?",
        (
            Panel(
                "Candidate",
                "Empty: no candidate forecasts; to try a bundle, put it into the folder of candidate.",
                "short",
                (Query("augserve_candidate_info == 1", "{{version}} for {{share}} of the sessions"),),
                "stat",
            ),
            Panel(
                "Turns in SLO, by bundle",
                "The candidate is lower for a day: empty its folder; it is level or higher: put it into the bundle's.",
                "percentunit",
                (
                    Query(
                        f"sum by (bundle) (rate(augserve_turns_in_slo_total{TRIAL_RATE})) / "
                        f"sum by (bundle) (rate(augserve_turns_total{TRIAL_RATE}))",
                        "{{bundle}}",
                    ),
                ),
            ),
            Panel(
                "Time to first token, by bundle",
                "The candidate's turns wait longer than the champion's for a day: empty its folder.",
                "s",
                tuple(
                    Query(
                        quantile(share, "augserve_ttft_seconds", "bundle", rate=TRIAL_RATE),
                        f"{{{{bundle}}}} p{share * 100:.0f}",
                    )
                    for share in (0.5, 0.9)
                ),
            ),
            Panel(
                "Actual over forecast, by bundle (median)",
                "The nearer to 1, the better the forecasts: keep the bundle that is nearer for a day.",
                "short",
                (
                    Query(
                        quantile(0.5, "augserve_forecast_ratio", "quantity, bundle", rate=TRIAL_RATE),
                        "{{quantity}}, {{bundle}}",
                    ),
                ),
            ),
        ),
    ),
)
