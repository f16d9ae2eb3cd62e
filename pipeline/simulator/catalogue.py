"""Every policy that can be simulated, declared once. Importing the catalogue needs no vLLM."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...models.serving.settings import SchedulerSettings
from . import ablations
from .errors import SimulationError

OUTPUT_LENGTH, TOOL_DURATION, REMAINING_TURNS = "output length", "tool duration", "remaining turns"
EVERYTHING = (OUTPUT_LENGTH, TOOL_DURATION, REMAINING_TURNS)

_VLLM_SCHEDULER = "vllm.v1.core.sched.async_scheduler:AsyncScheduler"
_AUGSERVE_SCHEDULER = "augserve.runtime.scheduler:AugServeScheduler"
_RIVALS = f"{__package__}.rivals"


@dataclass(frozen=True, slots=True)
class Policy:
    """A scheduling policy: its words for tables, and how its scheduler is built."""

    name: str
    title: str
    description: str
    scheduler: str  # module:Class
    source: str = ""  # the paper or pull request that it implements
    predicts: tuple[str, ...] = ()
    oracle: bool = False  # predictions come from the workload itself instead of from the models
    ablates: str = ""  # the part of AugServe that an ablation leaves out or replaces
    adjust: Callable[[SchedulerSettings], SchedulerSettings] | None = None  # applied to the settings before a run
    knows_programs: bool = False  # which sessions and sub-agents belong together, and when they end
    unbounded_cache: bool = False  # the KV cache has room for all contexts of a run, so that nothing is evicted

    @property
    def needs_models(self) -> bool:
        return bool(self.predicts) and not self.oracle

    @property
    def uses_deployed_settings(self) -> bool:
        """Whether tuned weights and gains matter; other policies read the SLO and the step time only."""
        return self.scheduler == _AUGSERVE_SCHEDULER

    @property
    def is_stock(self) -> bool:
        """Whether vLLM's own class schedules, so that no code of AugServe can change the result."""
        return self.scheduler == _VLLM_SCHEDULER


VLLM = Policy("vllm", "stock vLLM", "stock vLLM: first come, first served", _VLLM_SCHEDULER)
VLLM_TUNED = Policy(
    "vllm-tuned",
    "stock vLLM, best static setting",
    "stock vLLM with its best static token budget and limit on running requests",
    _VLLM_SCHEDULER,
)
"""No policy of its own: an evaluation replaces it by the best `vllm@BUDGETxSEQUENCES`."""
VLLM_UNBOUNDED = Policy(
    "vllm-unbounded",
    "stock vLLM, unbounded cache",
    "stock vLLM with a KV cache for all contexts of the run: a bound on what keeping contexts could gain",
    _VLLM_SCHEDULER,
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
    "uncached-first, the best rule without learning",
    "turns that can still meet the TTFT limit first, then fewest uncached prompt tokens",
    f"{_RIVALS}.uncached:UncachedFirst",
    source="ours; near the longest-prefix-match order of SGLang, Zheng et al., NeurIPS 2024, arXiv 2312.07104",
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
    f"{_RIVALS}.attained:LeastAttainedService",
    source="Luo et al. (Autellix), NSDI 2026, arXiv 2502.13965",
    knows_programs=True,
)
THUNDERAGENT = Policy(
    "thunderagent",
    "ThunderAgent",
    "pauses and resumes whole programs, so that their contexts fit",
    f"{_RIVALS}.thunderagent:ThunderAgent",
    source="Kang et al., 2026, arXiv 2602.13692",
    knows_programs=True,
)
SESSION_LIMIT = Policy(
    "session-limit",
    "limit on sessions",
    "a static limit on sessions at once, in vLLM's order",
    f"{_RIVALS}.session_limit:SessionLimit",
    source="classic rule",
    knows_programs=True,
)
"""No policy of its own: `session-limit@SESSIONS` states the limit."""
AUGSERVE = Policy(
    "augserve", "AugServe", "AugServe as deployed, with tuned settings", _AUGSERVE_SCHEDULER, predicts=EVERYTHING
)


def _ablation(
    name: str,
    ablates: str,
    description: str,
    adjust: Callable[[SchedulerSettings], SchedulerSettings] | None = None,
) -> Policy:
    return replace(AUGSERVE, name=name, title=description, description=description, ablates=ablates, adjust=adjust)


NO_STAGE_ONE = _ablation(
    "augserve-no-stage-one",
    "stage I: the expected cost of a turn",
    "AugServe without the expected cost of a turn at its arrival",
    ablations.without_stage_one,
)
NO_STAGE_TWO = _ablation(
    "augserve-no-stage-two",
    "stage II: facts learned while a turn waits, and its deadline",
    "AugServe without facts learned while a turn waits, and without deadlines",
    ablations.without_stage_two,
)
STATIC_BUDGET = _ablation(
    "augserve-static-budget",
    "steering of the token budget",
    "AugServe with one token budget for every step, the best of a few",
)
P_PAS_BUDGET = _ablation(
    "augserve-p-pas",
    "steering of the token budget, replaced by the rule of P-PAS",
    "AugServe with the rule of P-PAS for the token budget",
)
NO_CONTEXT = _ablation(
    "augserve-no-context",
    "pinning of contexts during tool calls",
    "AugServe that pins no context during a tool call",
    ablations.without_context,
)
NO_PREDICTORS = replace(_ablation("augserve-no-predictors", "predictions", "AugServe without predictions"), predicts=())
UNTUNED = _ablation(
    "augserve-default",
    "tuning: hand-set settings instead",
    "AugServe with hand-set settings, before tuning",
    ablations.hand_set,
)


def _oracle_of(policy: Policy) -> Policy:
    return replace(
        policy,
        name=f"{policy.name}-oracle",
        title=f"{policy.title}, perfect predictions",
        description=f"{policy.title} with perfect predictions, an upper bound on what better models could gain",
        oracle=True,
    )


ORACLE = _oracle_of(AUGSERVE)

RIVALS = (VLLM, VLLM_TUNED, SJF_PROMPT, SJF, UNCACHED_FIRST, P_PAS, INFERCEPT, MARS, CONTINUUM, CONTINUUM_FORECAST)
"""In the order of tables; AugServe and its variants follow."""
PROGRAM_RIVALS = (PLAS, THUNDERAGENT, SESSION_LIMIT)
"""For agents in a closed loop."""
ABLATIONS = (NO_STAGE_ONE, NO_STAGE_TWO, STATIC_BUDGET, P_PAS_BUDGET, NO_CONTEXT, NO_PREDICTORS, UNTUNED)
ORACLES = (*(_oracle_of(policy) for policy in RIVALS if policy.predicts), ORACLE)
CATALOGUE = {
    policy.name: policy for policy in (*RIVALS, AUGSERVE, *ABLATIONS, *ORACLES, VLLM_UNBOUNDED, *PROGRAM_RIVALS)
}
SIMULATED = {name: policy for name, policy in CATALOGUE.items() if policy not in (VLLM_TUNED, SESSION_LIMIT)}

STATIC_BUDGETS = (512, 1024, 2048, 4096, 8192, 16_384)
STATIC_SEQUENCES = (64, 128, 256, 512, 1024)
"""The grid of static configurations of stock vLLM in which `vllm-tuned` is searched."""
_STATIC_VLLM = re.compile(rf"{VLLM.name}@(?P<budget>[1-9]\d*)x(?P<sequences>[1-9]\d*)")
_STATIC_AUGSERVE = re.compile(rf"{AUGSERVE.name}@(?P<budget>[1-9]\d*)")
_SESSION_LIMIT = re.compile(rf"{SESSION_LIMIT.name}@(?P<sessions>[1-9]\d*)")
FAMILIES = (f"{VLLM.name}@BUDGETxSEQUENCES", f"{AUGSERVE.name}@BUDGET", f"{SESSION_LIMIT.name}@SESSIONS")
"""Policies whose names state limits: a static token budget, and how many requests may run or sessions may be served."""


@dataclass(frozen=True, slots=True)
class StaticLimits:
    """Limits that the name of a policy states. None: as the profile has it."""

    token_budget: int | None = None
    sequences: int | None = None
    sessions: int | None = None  # at once


def static_vllm(budget: int, sequences: int) -> str:
    """The name of stock vLLM with a static token budget and a limit on running requests."""
    return f"{VLLM.name}@{budget}x{sequences}"


def static_augserve(budget: int) -> str:
    """The name of AugServe with one token budget for every step."""
    return f"{AUGSERVE.name}@{budget}"


def find(name: str) -> tuple[Policy, StaticLimits]:
    """The policy of a name in SIMULATED or of a form in FAMILIES, with the limits that the name states.

    Raises SimulationError for an unknown name.
    """
    if static := _STATIC_VLLM.fullmatch(name):
        return VLLM, StaticLimits(int(static["budget"]), int(static["sequences"]))
    if static := _STATIC_AUGSERVE.fullmatch(name):
        return STATIC_BUDGET, StaticLimits(int(static["budget"]))
    if static := _SESSION_LIMIT.fullmatch(name):
        return SESSION_LIMIT, StaticLimits(sessions=int(static["sessions"]))
    if name not in SIMULATED:
        raise SimulationError(f"policy {name!r} is unknown; choose from {', '.join((*SIMULATED, *FAMILIES))}")
    return SIMULATED[name], StaticLimits()
