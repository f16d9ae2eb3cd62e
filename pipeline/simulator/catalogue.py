"""Every policy that can be simulated, declared once. Importing the catalogue needs no vLLM."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...models.serving.settings import SchedulerSettings
from . import ablations
from .errors import SimulationError
from .static_setting import FORMS, StaticSetting

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
    knows: tuple[str, str] | None = None  # a quantity of the forecasts, and its source instead of the models
    tunes: str = ""  # no policy of its own: an evaluation replaces it by this policy at its best static setting

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
    "AugServe with one token budget for every step",
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


def _informed(quantity: str, source: str, text: str) -> Policy:
    policy = _ablation(f"augserve-{quantity}-{source}", f"forecast of {text}: {source}", f"AugServe, {text}: {source}")
    return replace(policy, knows=(quantity, source))


EXACT, TABLE, NOTHING = "exact", "table", "nothing"
"""Sources of a quantity: the workload itself, quantiles of the same tool's latest outcomes, one constant."""
QUANTITIES = {
    "output": ("the output length", (EXACT, TABLE, NOTHING)),
    "pause": ("the pause after a turn", (EXACT, TABLE, NOTHING)),
    "remaining": ("the turns left", (EXACT, NOTHING)),
}
"""Quantity of a forecast → its words, and its sources beside the models."""


def informed(quantity: str, source: str) -> Policy:
    """AugServe with a quantity of its forecasts from another source than the models."""
    return INFORMED[f"augserve-{quantity}-{source}"]


INFORMED = {
    policy.name: policy
    for quantity, (text, sources) in QUANTITIES.items()
    for policy in (_informed(quantity, source, text) for source in sources)
}
"""For `make information`."""


def _oracle_of(policy: Policy) -> Policy:
    return replace(
        policy,
        name=f"{policy.name}-oracle",
        title=f"{policy.title}, perfect predictions",
        description=f"{policy.title} with perfect predictions, an upper bound on what better models could gain",
        oracle=True,
    )


ORACLE = _oracle_of(AUGSERVE)


def _tuned(policy: Policy) -> Policy:
    return replace(
        policy,
        name=f"{policy.name}-tuned",
        title=f"{policy.title}, best static setting",
        description=f"{policy.description}, with the best static setting that a search found",
        tunes=policy.name,
    )


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
ABLATIONS = (NO_STAGE_ONE, NO_STAGE_TWO, STATIC_BUDGET, P_PAS_BUDGET, NO_CONTEXT, NO_PREDICTORS, UNTUNED)
ORACLES = (*(_oracle_of(policy) for policy in RIVALS if policy.predicts), ORACLE)
TUNED = {policy.name: policy for policy in map(_tuned, (*RIVALS, *PROGRAM_RIVALS, STATIC_BUDGET))}
"""Policies at their best static settings."""
CATALOGUE = {
    policy.name: policy
    for policy in (
        *(each for rival in (*RIVALS, *PROGRAM_RIVALS) for each in (rival, TUNED[f"{rival.name}-tuned"])),
        AUGSERVE,
        *ABLATIONS,
        TUNED[f"{STATIC_BUDGET.name}-tuned"],
        *INFORMED.values(),
        *ORACLES,
        VLLM_UNBOUNDED,
    )
}
SIMULATED = {name: policy for name, policy in CATALOGUE.items() if not policy.tunes and policy is not SESSION_LIMIT}


def tuned(policy: Policy) -> Policy:
    """The entry for a policy at its best static setting. Raises KeyError for an oracle, and for AugServe itself."""
    return TUNED[f"{policy.name}-tuned"]


def find(name: str) -> tuple[Policy, StaticSetting]:
    """The policy of a name in SIMULATED or of a form in FORMS, with the setting that the name states.

    Raises SimulationError for an unknown name, and for one that needs a search or a limit on sessions.
    """
    base, at, stated = name.partition("@")
    policy = CATALOGUE.get(base)
    setting = StaticSetting.parse(stated) if at else StaticSetting()
    if policy is None or policy.tunes or setting is None:
        raise SimulationError(f"policy {name!r} is unknown; choose from {', '.join((*SIMULATED, *FORMS))}")
    if (policy is SESSION_LIMIT) != (setting.sessions is not None):
        raise SimulationError(f"policy {name!r}: sessions=N and {SESSION_LIMIT.name} go together; see {FORMS[-1]}")
    return policy, setting
