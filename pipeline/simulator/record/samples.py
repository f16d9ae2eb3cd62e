"""The samples of a run: what each turn and each session tree contributes to the metrics."""

from dataclasses import dataclass, field

from ....models.serving.settings import Slo
from .records import EngineUse, SimulationResult
from .trees import Tree, trees_of
from .turns import meets_slo, tpot_s, wait_s
from .window import Window

DIGITS = 6
"""Of seconds: the samples are written as JSON."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Three groups of parallel lists: session trees, those that ended in the window, and turns that arrived in it."""

    window_s: float
    closed: bool  # a closed loop: the number of sessions under way is fixed
    busy_s: float = 0.0  # of the engine in the window; 0: not observed
    preemptions: int = 0
    unfinished: int = 0
    # Trees that were under way in the window; of an open loop those with a turn that arrived or finished in it.
    sessions: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    present_s: list[float] = field(default_factory=list)  # in the window
    steps: list[int] = field(default_factory=list)  # turns that finished in the window
    prompt_tokens: list[int] = field(default_factory=list)  # of turns that arrived in the window and had a first token
    cached_tokens: list[int] = field(default_factory=list)  # of these
    best_cached_tokens: list[int] | None = None  # of these; None: not observed
    recomputed_s: list[float] = field(default_factory=list)  # engine time in the window
    # Trees that ended in the window.
    ended: list[int] = field(default_factory=list)  # index into `sessions`
    ended_in_time: list[int] = field(default_factory=list)  # 1: all turns of the tree met the SLO
    thirds: list[int] = field(default_factory=list)  # of the session length: 0, 1 or 2; -1: not known
    session_time_s: list[float | None] = field(default_factory=list)  # None: the tree entered midway
    serving_time_s: list[float | None] = field(default_factory=list)
    # Turns that arrived in the window.
    turn_sessions: list[int] = field(default_factory=list)  # index into `sessions`
    ttft_s: list[float] = field(default_factory=list)  # without a first token: the wait until the end of the run
    in_time: list[int] = field(default_factory=list)  # 1: the turn met the SLO
    first: list[int] = field(default_factory=list)  # 1: the first turn of a tree
    turn_prompt_tokens: list[int] = field(default_factory=list)
    tpot_s: list[float | None] = field(default_factory=list)  # None: unfinished, or one token


def samples_of(
    result: SimulationResult,
    window: Window,
    slo: Slo,
    bounds: tuple[int, int] | None = None,
    engine_use: EngineUse | None = None,
    closed: bool = False,
) -> Samples:
    """`bounds` are those of `length_bounds`; without `engine_use` the cache was not observed."""
    arrived = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    samples = Samples(
        window.length_s,
        closed,
        0.0 if engine_use is None else engine_use.busy_s,
        sum(turn.preemptions for turn in arrived),
        sum(turn.finish_s is None for turn in arrived),
        best_cached_tokens=None if engine_use is None else [],
    )
    trees = trees_of(result.turns)
    places: dict[str, int] = {}
    for name, tree in trees.items():
        if name == tree.session_id and _is_seen(tree, window, closed, result.end_s):
            places[name] = len(places)
            _add_tree(samples, tree, window, result.end_s, engine_use)
            if tree.end_s is not None and window.holds(tree.end_s):
                _add_ended(samples, tree, places[name], slo, bounds)
    for turn in arrived:
        samples.turn_sessions.append(places[trees[turn.session_id].session_id])
        samples.ttft_s.append(round(wait_s(turn, result.end_s), DIGITS))
        samples.in_time.append(int(meets_slo(turn, slo)))
        samples.first.append(int(turn is trees[turn.session_id].turns[0]))
        samples.turn_prompt_tokens.append(turn.prompt_tokens)
        pace_s = tpot_s(turn)
        samples.tpot_s.append(None if pace_s is None else round(pace_s, DIGITS))
    return samples


def _is_seen(tree: Tree, window: Window, closed: bool, end_s: float) -> bool:
    if closed:
        return window.overlap_s(tree.begin_s, end_s if tree.end_s is None else tree.end_s) > 0
    return any(
        window.holds(turn.arrival_s) or (turn.finish_s is not None and window.holds(turn.finish_s))
        for turn in tree.turns
    )


def _add_tree(samples: Samples, tree: Tree, window: Window, end_s: float, engine_use: EngineUse | None) -> None:
    samples.sessions.append(tree.session_id)
    samples.kinds.append(tree.kind)
    present_s = window.overlap_s(tree.begin_s, end_s if tree.end_s is None else tree.end_s)
    samples.present_s.append(round(present_s, DIGITS))
    samples.steps.append(sum(turn.finish_s is not None and window.holds(turn.finish_s) for turn in tree.turns))
    started = [turn for turn in tree.turns if window.holds(turn.arrival_s) and turn.first_token_s is not None]
    samples.prompt_tokens.append(sum(turn.prompt_tokens for turn in started))
    samples.cached_tokens.append(sum(turn.cached_tokens for turn in started))
    if samples.best_cached_tokens is not None:
        samples.best_cached_tokens.append(sum(turn.best_cached_tokens or 0 for turn in started))
    names = {turn.session_id for turn in tree.turns}
    recomputed_s = 0.0 if engine_use is None else sum(engine_use.recomputed_s.get(name, 0.0) for name in names)
    samples.recomputed_s.append(round(recomputed_s, DIGITS))


def _add_ended(samples: Samples, tree: Tree, place: int, slo: Slo, bounds: tuple[int, int] | None) -> None:
    samples.ended.append(place)
    samples.ended_in_time.append(int(all(meets_slo(turn, slo) for turn in tree.turns)))
    samples.thirds.append(-1 if bounds is None else sum(len(tree.turns) > bound for bound in bounds))
    for times, time_s in (
        (samples.session_time_s, tree.session_time_s()),
        (samples.serving_time_s, tree.serving_time_s()),
    ):
        times.append(None if time_s is None else round(time_s, DIGITS))
