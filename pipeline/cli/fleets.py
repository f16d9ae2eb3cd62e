"""The engines of `augserve simulate --replicas`: one fleet a routing."""

import argparse

from ..simulator.fleet.routing import Fleet, Loss, Routing


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--replicas", type=int, default=1, metavar="N", help="engines that share the load (default 1)")
    routing = f"with --replicas, who serves a turn: one or more of {', '.join(Routing)} (default {Routing.STICKY})"
    add("--routing", nargs="+", choices=list(Routing), default=[Routing.STICKY.value], metavar="ROUTING", help=routing)
    lose = "an engine is away from FROM s on, until TO s where given; others answer its turns"
    add("--lose", nargs="+", default=[], metavar="RANK@FROM-TO", help=lose)


def read_fleets(arguments: argparse.Namespace) -> list[Fleet]:
    """Raises SimulationError for engines that cannot be."""
    losses = tuple(map(Loss.parse, arguments.lose))
    routings = dict.fromkeys(map(Routing, arguments.routing)) if arguments.replicas != 1 else [Routing.STICKY]
    return [Fleet(arguments.replicas, routing, losses) for routing in routings]


def run_name(policy: str, fleet: Fleet) -> str:
    """What a table calls the run of a policy."""
    return policy if fleet.replicas == 1 else f"{policy} {fleet.routing}"
