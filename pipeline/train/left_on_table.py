"""The card's section on what is left on the table: goals missed, baselines that are better and why, what was tried."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...models.learning.evaluation import Metrics
from .reports import MODEL, known_rows, markdown
from .trained import REPORTS, Trained

GOAL_SET = "claude-code-swe"
# Target, what is judged, metric, by what it is divided, the goal, and whether more is better.
GOALS = (
    ("output_length", "Kendall's τ", "kendall_tau", None, 0.5, True),
    ("output_length", "MAE as a share of the per-tool median's", "mae", "mae_baseline", 0.75, False),
    ("session_remaining", "Kendall's τ", "kendall_tau", None, 0.4, True),
    (
        *("tool_duration", "pinball loss at p90 of calls that are known, as a share of the per-tool quantile's"),
        *("pinball_p90_at_call", "pinball_p90_baseline_at_call", 0.7, False),
    ),
)
_LOSSES = {"kendall_tau": "Kendall's τ", "mae": "MAE", "pinball_p90": "pinball loss at p90"}
TIE = 0.02
FEW_ROWS = 1000
LONGEST = 0.01  # share of the values whose part in the loss is told
TRIED = """\
- Kept: running 0.9 quantiles of a tool's durations as features, and pauses by the tool whose result led to them.
- Kept: what is remembered over sessions apart for each model, as an engine has it, and how far sessions are.
- Kept: offsets by set for p10 and p90, none for the median.
- Kept: one forest for all quantiles of a length or duration. Durations: relative loss 0.52, of three forests 0.58.
- Kept: a seventh level in such trees. Lengths, Kendall's τ: infercept-mix 0.692 → 0.706, azure-conv 0.557 → 0.578,
  claude-code-swe 0.387 → 0.391.
- Kept: 14 trees for the probability of a tool call, with larger steps (0.4 for 0.2) and leaves of as many rows as the
  others' (a seventh). Cross-fitted log loss 0.719 of a constant's, of 32 trees before 0.750; 256 turns take 6 % less.
- Not kept, for fewer trees: one forest for all quantiles of a session's remaining tokens (16 trees of depth 6, relative
  loss of p10, p50, p90 0.893, 0.908, 1.185 for 0.869, 0.898, 1.102), 12 trees with steps of 0.3 (0.865, 0.902, 1.085),
  the same of its remaining turns (0.901, 0.891, 1.051 for 0.891, 0.886, 1.051).
- Kept: a fifth of the rows of unknown tools in the forest, and a calibrating tree for them alone. All in, and one tree:
  p90 loss of durations on the gathered set 0.35, now 0.31; without unknown tools at all it would be 0.25, and intervals
  for a new tool would mean nothing.
- No gain: more trees (48, 64) or leaves of fewer rows (20, 8) for durations: relative loss 0.524, then 0.525, 0.526,
  0.524, 0.527. Rows weighted by their tool's usual duration neither.
- No gain: trees that start from what is remembered of the tool and learn the rest: log loss of p90 on claude-code-swe
  0.31 → 0.37.
- No gain: shallower trees, larger leaves, rows weighted by session and no features that tell sessions apart, for the
  remaining work (claude-code-swe, τ 0.256; 0.205 to 0.270).
- No gain: offsets apart for calls that are known and calls that are expected (gathered, all sessions: 80.6 % → 77.4 %
  covered, infercept-mix 83.1 → 83.3 %).
- Not kept: seven more features of a turn (how talkative the session is beside what its tools foretell, its outputs
  after this tool, outputs at this turn's number, how unlike its tool's results the last is in size, calls made again).
  Lengths, τ: claude-code-swe 0.388 → 0.368, azure-conv 0.555 → 0.576; remaining turns of claude-code-swe 0.246 → 0.218.
- Not kept: seven more of a call (how slow the session's calls are beside what is remembered, durations by the size of
  the arguments). Durations on claude-code-swe: τ 0.449 → 0.452, p90 loss 1.205 → 1.187.
- p90 of durations, calls that are known, loss in seconds, cross-fitted; of claude-code-swe (its per-tool quantile's:
  0.889), infercept-mix, gathered, augmentation-mix, kv-cache-sessions. As it is: 0.919, 1.545, 0.187, 1.330, 90.4.
  Not kept, for each harms some sets: leaves of 8 rows: 0.925, 1.631, 0.178, 1.349, 90.9. An offset for each tool's
  bucket, drawn to none by 10 rows: 0.864, 1.516, 0.199, 1.329, 96.7. Half of it, on log scale, from `hierarchy_high`:
  0.868, 1.396, 0.220, 1.449, 94.7.
- Not kept: a table of each tool's, its family's and all tools' own quantiles, that the trees start from; the bundle
  would carry names of tools. Known calls as above, one build before and after: 0.905 → 0.882, 1.539 → 1.390, 0.202 →
  0.177, 1.323 → 1.291, 89.4 → 87.0. But an engine asks for the call that is to be expected, and there it gains nothing
  (augmentation-mix 1.685 → 1.725).
- Little gain in rank, and intervals that cover too little: models of one set alone, and larger ones of it.

Why the goals on claude-code-swe are out of reach with what is told at a turn's arrival:

- Length: a far larger model of this set alone reaches τ 0.402 cross-fitted (0.348 held out); shown the text of the
  prompt's tail as well (TF-IDF, 80 components) 0.408 (0.360), by the text alone 0.223.
  MAE is 16 % (12 %) below the set's median's.
- Remaining turns: τ differs from one choice of repositories to another by more than what is missing: the same models
  reach 0.26 cross-fitted and 0.35 held out (11 repositories), a far larger one 0.23 and 0.38.
- Durations: a hundredth of the calls makes 72 % of the p90 loss. The per-tool quantile that is fitted to the held-out
  calls themselves is 8 % better than the learned one, by tool and command 17 %; asked are 30 %. Sub-agents (Task), a
  third of our loss, are 11 calls to learn from. Ours was 1.16 times the baseline's then, 95 % interval 0.95 to 1.64.
  Six held-out calls of Task make ours the worse one: 412 of our 1,052 s of loss, 119 of the baseline's 834. Of all
  other calls ours is 0.90 of the baseline's, 95 % interval 0.59 to 0.97.
"""


def left_on_the_table(
    trained: Sequence[Trained], metrics: Mapping[str, Mapping[str, Metrics]], folder: Path | None = None
) -> str:
    """The section as Markdown. `folder` holds baselines.csv, and the tables of `make study` if that was run."""
    folder = folder or REPORTS
    better = list(_better(trained, pd.read_csv(folder / "baselines.csv")))
    parts = ["## What was tried, and what is left on the table\n"]
    goals = pd.DataFrame(_goals(metrics))
    if len(goals):
        parts += [f"Goals on the held-out sessions of {GOAL_SET}:\n", markdown(goals)]
    parts += ["Tried on the public sets, judged by cross-fitting on the sessions learned from:\n", TRIED]
    if better:
        parts += ["### Where a baseline is better, and why\n", markdown(pd.DataFrame(better))]
    return "\n".join([*parts, *_study(folder)])


def _goals(metrics: Mapping[str, Mapping[str, Metrics]]) -> Iterator[dict[str, Any]]:
    for target, meaning, metric, divisor, goal, more in GOALS:
        values = metrics.get(GOAL_SET, {}).get(target, {})
        reached, by = values.get(metric), 1.0 if divisor is None else values.get(divisor)
        if reached is not None and by:
            share = reached / by
            yield {
                "target": target,
                "judged": meaning,
                "goal": f"{'≥' if more else '≤'} {goal:g}",
                "reached": share,
                "met": "yes" if (share >= goal) == more else "no",
            }


def _better(trained: Sequence[Trained], rivals: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each set, target and metric in which some baseline beats the models, with the best of them."""
    of_target = {one.data.target.name: one for one in trained}
    for (name, target), rows in rivals.groupby(["set", "target"], sort=False):
        ours, others = rows[rows.model == MODEL].iloc[0], rows[rows.model != MODEL]
        for metric, meaning in _LOSSES.items():
            sign = -1 if metric == "kendall_tau" else 1
            scores = (sign * others[metric]).dropna()
            own = sign * ours[metric]
            if scores.empty or not (np.isnan(own) or scores.min() < own):
                continue
            best = others.iloc[int(np.nanargmin(sign * others[metric].to_numpy()))]
            yield {
                "set": name,
                "target": target,
                "metric": meaning,
                "augserve": ours[metric],
                "baseline": best["model"],
                "its": best[metric],
                "why": _reason(of_target[str(target)], str(name), metric, float(ours[metric]), float(best[metric])),
            }


def _reason(one: Trained, source: str, metric: str, ours: float, rival: float) -> str:
    """The first that the figures bear out."""
    known = one.learned.known
    learned = int(np.count_nonzero(known.sources == source))
    test, predicted, actual = known_rows(one, source)
    turn = [part.name for part in one.data.target.features].index("turn")
    if not test.rows[:, turn].any():
        return "single turns: the set tells of arrivals and lengths alone, so there is no history to learn from"
    if abs(ours - rival) <= TIE * abs(rival):
        return f"a tie, within {TIE:.0%}"
    if learned < FEW_ROWS:
        return f"{learned} rows of {len(np.unique(known.sessions[known.sources == source]))} sessions to learn from"
    if metric != "kendall_tau":
        column, level = (1, 0.5) if metric == "mae" else (2, 0.9)
        error = actual - predicted[:, column]
        loss = np.maximum(level * error, (level - 1) * error)
        longest = actual >= np.quantile(actual, 1 - LONGEST)
        if (share := float(loss[longest].sum() / loss.sum())) > 10 * LONGEST:
            return f"the longest {LONGEST:.0%} of the values make {share:.0%} of the loss; models learn on log scale"
    return "the baseline is of this set alone, the models are of all"


def _study(folder: Path) -> Iterator[str]:
    """What `make study` found, if it was run: learning curve, upper reference, transfer; by Kendall's τ."""
    curve, upper, moved = (folder / f"{name}.csv" for name in ("learning_curve", "upper", "transfer"))
    if not (curve.is_file() and upper.is_file() and moved.is_file()):
        yield "`make study` adds here the learning curve, a far larger model and the transfer between sets.\n"
        return
    shares, larger = pd.read_csv(curve), pd.read_csv(upper)
    index = ["set", "target"]
    table = shares.pivot_table(index=index, columns="share", values="kendall_tau")
    table.columns = pd.Index([f"{share:.3g} of the sessions" for share in table.columns])
    joined = table.join(larger.set_index(index)["kendall_tau"].rename("far larger model")).reset_index()
    yield "### More sessions, or a far larger model (Kendall's τ, by the last `make study`)\n"
    yield markdown(joined)
    if (of_all := folder / "coverage.csv").is_file():
        yield "### Coverage of the 80 % interval on all sessions, each held out once (by the last `make study`)\n"
        yield markdown(pd.read_csv(of_all))
    yield "### Trained on one set, judged on another (Kendall's τ)\n"
    transfer = pd.read_csv(moved)
    yield markdown(
        transfer.pivot_table(index=["target", "trained_on"], columns="set", values="kendall_tau").reset_index()
    )
