"""AugServe, and AugServe without a part or with other forecasts."""

from collections.abc import Callable
from dataclasses import replace

from ....models.serving.settings import SchedulerSettings
from . import ablations
from .policy import AUGSERVE_SCHEDULER, EVERYTHING, Policy

AUGSERVE = Policy(
    "augserve", "AugServe", "AugServe as deployed, with tuned settings", AUGSERVE_SCHEDULER, predicts=EVERYTHING
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
WHOLE_PROMPTS = _ablation(
    "augserve-whole-prompts",
    "sharing of steps among prompts",
    "AugServe in which a heavy prompt shares no step with shorter ones",
    ablations.whole_prompts,
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


ABLATIONS = (NO_STAGE_ONE, NO_STAGE_TWO, STATIC_BUDGET, P_PAS_BUDGET, NO_CONTEXT, WHOLE_PROMPTS, NO_PREDICTORS, UNTUNED)
