"""Stock vLLM and the policies that AugServe is compared with."""

from .policy import EVERYTHING, OUTPUT_LENGTH, REMAINING_TURNS, TOOL_DURATION, VLLM_SCHEDULER, Policy

_RIVALS = "augserve.pipeline.simulator.rivals"

VLLM = Policy("vllm", "stock vLLM", "stock vLLM: first come, first served", VLLM_SCHEDULER)
VLLM_UNBOUNDED = Policy(
    "vllm-unbounded",
    "stock vLLM, unbounded cache",
    "stock vLLM with a KV cache for all contexts of the run: a bound on what keeping contexts could gain",
    VLLM_SCHEDULER,
    unbounded_cache=True,
)
SJF_PROMPT = Policy(
    "sjf-prompt",
    "shortest prompt first",
    "shortest prompt first; predicts nothing",
    f"{_RIVALS}.shortest:ShortestPromptFirst",
    source="classic rule",
)
SJF = Policy(
    "sjf",
    "shortest job first",
    "shortest job first, by the prompt and the predicted output",
    f"{_RIVALS}.shortest:ShortestJobFirst",
    source="Zheng et al., NeurIPS 2023, arXiv 2305.13144; Fu et al., NeurIPS 2024, arXiv 2408.15792",
    predicts=(OUTPUT_LENGTH,),
)
UNCACHED_FIRST = Policy(
    "uncached-first",
    "uncached-first",
    "turns that can still meet the TTFT limit first, then fewest uncached prompt tokens",
    f"{_RIVALS}.uncached:UncachedFirst",
    source="ours; near the longest-prefix-match order of SGLang, Zheng et al., NeurIPS 2024, arXiv 2312.07104",
)
RESIDUAL_SJF = Policy(
    "residual-sjf",
    "residual shortest first",
    "fewest uncached KV blocks first, after turns that have waited for ten seconds",
    f"{_RIVALS}.uncached:ResidualShortestFirst",
    source="vLLM pull request 51375",
)
P_PAS = Policy(
    "p-pas",
    "P-PAS",
    "stock vLLM with a smaller token budget while several prefills run beside decodes",
    f"{_RIVALS}.prefill_cap:PrefillCap",
    source="Saemann, 2026, arXiv 2608.15171; vLLM RFC 52906",
)
INFERCEPT = Policy(
    "infercept",
    "InferCept",
    "pins or discards the context of a tool call, whichever wastes less memory",
    f"{_RIVALS}.infercept:InferCept",
    source="Abhyankar et al., ICML 2024, arXiv 2402.01869",
    predicts=(TOOL_DURATION, REMAINING_TURNS),
)
MARS = Policy(
    "mars",
    "MARS/LAMPS",
    "least memory over time first, the memory during the tool call included",
    f"{_RIVALS}.mars:Mars",
    source="Shahout et al., NeurIPS 2025, arXiv 2410.18248",
    predicts=EVERYTHING,
)
CONTINUUM = Policy(
    "continuum",
    "Continuum",
    "pins contexts for the time that pays off by the durations observed of the tool",
    f"{_RIVALS}.continuum:Continuum",
    source="Li et al., 2025, arXiv 2511.02230",
)
CONTINUUM_HOLDING = Policy(
    "continuum-holding",
    "Continuum, holding",
    "Continuum whose pins hold for their time, even while others wait for memory",
    f"{_RIVALS}.continuum:HoldingContinuum",
    source="vllm-continuum-plugin 0.2",
)
CONTINUUM_FORECAST = Policy(
    "continuum-forecast",
    "Continuum, predicted",
    "Continuum with the predicted duration of the call, which the paper does not have",
    f"{_RIVALS}.continuum:ForecastContinuum",
    source="Li et al., 2025, arXiv 2511.02230, changed",
    predicts=(TOOL_DURATION, REMAINING_TURNS),
)
PLAS = Policy(
    "plas",
    "PLAS",
    "least attained service of the program first",
    f"{_RIVALS}.programs.attained:LeastAttainedService",
    source="Luo et al. (Autellix), NSDI 2026, arXiv 2502.13965",
    knows_programs=True,
)
PROGRAM_FAIRNESS = Policy(
    "program-fairness",
    "program-aware fairness",
    "little recent service of the program first, weighed against the wait of its turn",
    f"{_RIVALS}.programs.fairness:ProgramFairness",
    source="llm-d router, plug-in program-aware-fairness",
    knows_programs=True,
)
THUNDERAGENT = Policy(
    "thunderagent",
    "ThunderAgent",
    "pauses and resumes whole programs, so that their contexts fit",
    f"{_RIVALS}.programs.thunderagent:ThunderAgent",
    source="Kang et al., 2026, arXiv 2602.13692",
    knows_programs=True,
)
SESSION_LIMIT = Policy(
    "session-limit",
    "limit on sessions",
    "a static limit on sessions at once, in vLLM's order",
    f"{_RIVALS}.programs.session_limit:SessionLimit",
    source="classic rule",
    knows_programs=True,
)
"""Runs with a limit only: `session-limit@sessions=8`."""
RIVALS = (
    VLLM,
    SJF_PROMPT,
    SJF,
    RESIDUAL_SJF,
    UNCACHED_FIRST,
    P_PAS,
    INFERCEPT,
    MARS,
    CONTINUUM,
    CONTINUUM_HOLDING,
    CONTINUUM_FORECAST,
)
"""In the order of tables; AugServe and its variants follow."""
PROGRAM_RIVALS = (PLAS, PROGRAM_FAIRNESS, THUNDERAGENT, SESSION_LIMIT)
"""For agents in a closed loop."""
