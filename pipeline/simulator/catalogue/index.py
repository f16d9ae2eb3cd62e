"""All policies by their names, with perfect predictions and at their best static settings."""

from dataclasses import replace

from ..errors import SimulationError
from .own import ABLATIONS, AUGSERVE, INFORMED, STATIC_BUDGET
from .policy import Policy
from .rivals import PROGRAM_RIVALS, RIVALS, SESSION_LIMIT, VLLM_UNBOUNDED
from .static_setting import FORMS, StaticSetting


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
