"""Experiment `lost_engine`: four engines of coding agents at full load, of which one is lost for good.

Prints the turns a minute by 20 s after the loss beside those of a run without it, and what became of the turns that
were under way.
"""

import argparse

from augserve.data.workload.built_in import built_in_load
from augserve.models.serving.bundle import load_bundle
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError, run_stage
from augserve.pipeline.simulator.cells.sampled import sampled_run
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.engine import context_tokens
from augserve.pipeline.simulator.fleet.routing import Fleet, Loss, Routing
from augserve.pipeline.simulator.profile import StepProfile
from augserve.pipeline.simulator.record.records import TurnRecord
from augserve.pipeline.simulator.record.trees import trees_of

ENGINES, AGENTS_EACH, PAUSE_CAP_S = 4, 24, 60.0
LOST_S, BEFORE_S, AFTER_S, BIN_S = 240.0, 120.0, 180.0, 20.0
BACK_WITHIN_S, BACK_SHARE = 60.0, 0.75
Turns = tuple[TurnRecord, ...]
PROFILE = paths.PROFILES / "llama-3.1-8b-h100.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    whole, turns = simulated(seed), simulated(seed, Loss(1, LOST_S, float("inf")))
    print(f"before: {rate(turns, LOST_S - BEFORE_S, LOST_S):.1f} turns/min")
    for start_s in range(int(LOST_S), int(LOST_S + AFTER_S), int(BIN_S)):
        print(f"{start_s - LOST_S:3.0f} s after, for {BIN_S:g} s: {compared(turns, whole, start_s, start_s + BIN_S)}")
    later = compared(turns, whole, LOST_S + BACK_WITHIN_S, LOST_S + AFTER_S)
    print(f"from {BACK_WITHIN_S:g} s on: {later} (asked {BACK_SHARE})")
    open_turns = [turn for turn in turns if turn.arrival_s < LOST_S and not ended_by(turn, LOST_S)]
    left = [turn for turn in open_turns if turn.finish_s is None]
    print(f"under way at the loss: {len(open_turns)} turns, of which {len(left)} wait or run at the end")
    lost = lost_sessions(turns)
    if lost:
        raise StageError(f"lost_engine: {len(lost)} sessions never went on, the first {lost[0]}; this is a bug")
    print("sessions lost: 0")


def compared(turns: Turns, whole: Turns, from_s: float, to_s: float) -> str:
    now, else_ = rate(turns, from_s, to_s), rate(whole, from_s, to_s)
    return f"{now:.1f} turns/min, {now / else_:.2f} of the {else_:.1f} without the loss"


def simulated(seed: int, *losses: Loss) -> Turns:
    profile, bundle = StepProfile.load(PROFILE), load_bundle(paths.BUNDLE, None)
    schedule = Schedule(LOST_S - BEFORE_S, BEFORE_S + AFTER_S, 0.0)
    longest = context_tokens(profile.limits)
    load = built_in_load("coding-agents", ENGINES * AGENTS_EACH, schedule.end_s, seed, longest, PAUSE_CAP_S)
    fleet = Fleet(ENGINES, Routing.BACKLOG, losses)
    return sampled_run("augserve", profile, load, schedule, bundle.settings, bundle.predictor, fleet=fleet)[0].turns


def rate(turns: Turns, from_s: float, to_s: float) -> float:
    """Turns that finished, a minute."""
    return 60 * sum(from_s <= (turn.finish_s or -1.0) < to_s for turn in turns) / (to_s - from_s)


def ended_by(turn: TurnRecord, time_s: float) -> bool:
    return turn.finish_s is not None and turn.finish_s <= time_s


def lost_sessions(turns: Turns) -> list[str]:
    """Sessions under way at the loss of which no turn went on or came, though no pause is as long as the rest."""
    trees = {tree.session_id: tree for tree in trees_of(turns).values()}
    return [
        name
        for name, tree in trees.items()
        if (tree.end_s is None or tree.end_s > LOST_S) and all(ended_by(turn, LOST_S) for turn in tree.turns)
    ]


if __name__ == "__main__":
    run_stage(main)
