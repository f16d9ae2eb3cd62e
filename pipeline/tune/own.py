"""The deployment's own workloads in tuning: they come first, and their engine is the one that the settings are for."""

from collections.abc import Mapping, Sequence

from ..project.own_workloads import OwnWorkload
from ..simulator.catalogue import VLLM
from .params import PlannedLoad, TuneParams
from .score import Baseline, Metrics

LEAST_RECOMPUTING = 0.005
"""Share of the engine's time that stock vLLM spends on lost contexts. With less there is nothing to gain from them."""
DECIDED = "the built-in workloads decide, unless you record under"


def with_own(params: TuneParams, own: Sequence[OwnWorkload]) -> TuneParams:
    """The deployment's own workloads come first, so that they decide which trials go on."""
    first = [
        PlannedLoad(workload=each.name, profile=each.profile or params.profile, agents=each.agents) for each in own
    ]
    return params.changed(scenarios=(*first, *params.scenarios))


def deployed_profile(params: TuneParams, own: Sequence[OwnWorkload]) -> str:
    """The engine that a bundle is for: the first one that was recorded, `tune.profile` where none is known."""
    return next((each.profile for each in own if each.profile is not None), params.profile)


def deciding(params: TuneParams, own: Sequence[OwnWorkload], baseline: Baseline) -> tuple[TuneParams, list[str]]:
    """The parameters without own workloads in which no rival has goodput, and a line for each own workload that does
    not tell policies apart."""
    left_out, lines = [], []
    for each in own:
        rivals = [by_policy for scenario, by_policy in baseline.rivals.items() if scenario.workload == each.name]
        share = max(by_policy[VLLM.name].get("recompute_share", 1.0) for by_policy in rivals)
        if any(_best_goodput(by_policy) <= 0 for by_policy in rivals):
            left_out.append(each.name)
            lines.append(
                f"{each.name}: no policy meets the SLO, so it is left out; {DECIDED} a lighter load, or "
                "give SLO_TTFT and SLO_TPOT that its engine can keep"
            )
        elif share < LEAST_RECOMPUTING:
            lines.append(
                f"{each.name}: its {each.agents} agents at once never fill the KV cache (stock vLLM spends {share:.1%} "
                f"of its time on lost contexts), so the order of policies is a tie; {DECIDED} more load"
            )
    return params.changed(scenarios=tuple(one for one in params.scenarios if one.workload not in left_out)), lines


def _best_goodput(by_policy: Mapping[str, Metrics]) -> float:
    return max(metrics["effective_throughput"] for metrics in by_policy.values())
