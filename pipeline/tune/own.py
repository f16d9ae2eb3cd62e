"""The deployment's own workloads in tuning: they come first, and their engine is the one that the settings are for."""

from collections.abc import Iterator, Sequence

from ..project.own_workloads import OwnWorkload
from ..simulator.catalogue import VLLM
from .params import PlannedLoad, TuneParams
from .score import Baseline

LEAST_RECOMPUTING = 0.005
"""Share of the engine's time that stock vLLM spends on lost contexts. With less there is nothing to gain from them."""


def with_own(params: TuneParams, own: Sequence[OwnWorkload]) -> TuneParams:
    """The deployment's own workloads come first, so that they decide which trials go on."""
    first = [
        PlannedLoad(workload=each.name, profile=each.profile or params.profile, agents=each.agents) for each in own
    ]
    return params.changed(scenarios=(*first, *params.scenarios))


def deployed_profile(params: TuneParams, own: Sequence[OwnWorkload]) -> str:
    """The engine that a bundle is for: the first one that was recorded, `tune.profile` where none is known."""
    return next((each.profile for each in own if each.profile is not None), params.profile)


def ties(baseline: Baseline, own: Sequence[OwnWorkload]) -> Iterator[str]:
    """A line for each own workload whose contexts stock vLLM never loses."""
    for each in own:
        shares = [
            rivals[VLLM.name].get("recompute_share", 0.0)
            for scenario, rivals in baseline.rivals.items()
            if scenario.workload == each.name
        ]
        if shares and max(shares) < LEAST_RECOMPUTING:
            yield (
                f"{each.name}: its {each.agents} agents at once never fill the KV cache (stock vLLM computes "
                f"{max(shares):.1%} again), so the order of policies is a tie there and the built-in workloads decide; "
                "record under more load to decide by your own"
            )
