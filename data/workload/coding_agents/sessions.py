"""The built-in workload `coding-agents`: sessions drawn from the figures of recorded coding agents.

Kinds of agents are drawn in the proportion of their recorded sessions: `swe-agent` solves a task alone, with named
tools; `pair-programmer` works with a person, who approves calls, reads and replies. Calls of both may run a
`sub-agent`.

A session's number of turns, first prompt and last context are drawn first, then the tool of each turn, then output,
pause and new tokens by tool. Each is drawn at a level of the figure's quantiles. The deviates of the session
(effects.py) correlate the levels, so that some sessions have long outputs, long pauses or other tools throughout.
Outputs and new tokens are drawn CANDIDATES times. Those that lead nearest to the drawn last context are taken; what
is still missing goes to the largest result. A session ends before the turn that would exceed MAX_CONTEXT.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..adjustments import Adjustments
from ..model import Session, SharedPrefix, ToolCall, Turn, WorkloadError
from ..trace_set import fit_context
from .effects import Effect, Values, normal_level
from .figures import EARLY_TURNS, Kind, Quantiles, Tool
from .tables import load_kinds

CODING_AGENTS = "coding-agents"  # its name in params.yaml and on the command line
SUB_AGENT = "sub-agent"
MAX_CONTEXT = 131_072
"""Most tokens of a prompt and the limit on its output."""
CANDIDATES = 32
"""More of them narrow the distribution of new tokens; fewer leave more to the largest result."""


def coding_sessions(count: int, seed: int) -> tuple[Session, ...]:
    """The first `count` sessions of `coding_sequence`. Raises WorkloadError for a count that is not positive."""
    if count < 1:
        raise WorkloadError(f"{CODING_AGENTS}: {count} sessions asked for; ask for 1 or more")
    return tuple(itertools.islice(coding_sequence(seed), count))


def coding_sequence(seed: int) -> Iterator[Session]:
    """Sessions of coding agents without end, which all arrive at 0."""
    kinds = load_kinds()
    return (coding_session(kinds, seed, index) for index in itertools.count())


def coding_session(kinds: Mapping[str, Kind], seed: int, index: int) -> Session:
    """The session at place `index` of those of a seed. It depends on these two alone."""
    random = np.random.default_rng((seed, index))
    names = [name for name in kinds if name != SUB_AGENT]
    shares = np.array([kinds[name].turns.count for name in names], np.float64)
    kind = kinds[str(random.choice(names, p=shares / shares.sum()))]
    return _Draws(kind, kinds.get(SUB_AGENT), random).session(f"coding-{seed}-{index}")


class _Draws:
    """The draws of one session of a kind. `sub_agent`: the kind of its sub-agents, which run none."""

    def __init__(self, kind: Kind, sub_agent: Kind | None, random: np.random.Generator) -> None:
        self._kind = kind
        self._sub_agent = sub_agent
        self._random = random
        self._deviates = kind.effects.draw(random)

    def session(self, session_id: str) -> Session:
        """The session, cut to MAX_CONTEXT."""
        kind = self._kind
        first_prompt = self._once("first_prompt", kind.first_prompt)
        tools = self._tools(self._once("turns", kind.turns) - 1)
        pauses_s = _by_tool(tools, self._levels("pause", len(tools)), lambda tool: tool.pause).tolist()
        results, outputs = self._lengths(first_prompt, tools)
        agent_ids = (f"{session_id}/agent-{number}" for number in itertools.count(1))
        turns = []
        context, kept, new_tokens = 0, None, first_prompt
        for tool, pause_s, result, output in zip(tools, pauses_s, results, outputs, strict=False):
            turns.append(Turn(new_tokens, output, self._calls(tool, pause_s, result, agent_ids), kept))
            context = (context if kept is None else kept) + new_tokens + output
            kept = self._kept(context)
            new_tokens = result if kept is None else context + result - kept
        turns.append(Turn(new_tokens, outputs[-1], (), kept))
        session = Session(
            session_id=session_id,
            kind=kind.name,
            arrival_s=0.0,
            turns=tuple(turns),
            max_tokens=kind.max_tokens,
            shared=self._shared(first_prompt),
        )
        (fitted,) = fit_context((session,), MAX_CONTEXT, Adjustments())
        return fitted

    def _tools(self, calling: int) -> list[Tool]:
        levels = self._levels("tool", calling).tolist()
        stages = [self._kind.early if place < EARLY_TURNS else self._kind.late for place in range(calling)]
        return [stage.tool_at(level) for stage, level in zip(stages, levels, strict=True)]

    def _lengths(self, first_prompt: int, tools: Sequence[Tool]) -> tuple[list[int], list[int]]:
        """Tokens that each turn's results add to the context, and output tokens of these turns and of the last one."""
        last_context = self._once("last_context", self._kind.last_context)
        levels = self._levels("output", (CANDIDATES, len(tools) + 1))
        last_outputs = self._kind.last_output.at(levels[:, -1:])
        outputs = np.rint(np.hstack([_by_tool(tools, levels[:, :-1], lambda tool: tool.output), last_outputs]))
        outputs[:, 0] = np.minimum(outputs[:, 0], MAX_CONTEXT - first_prompt)
        levels = self._random.random((CANDIDATES, len(tools)))
        results = np.rint(_by_tool(tools, levels, lambda tool: tool.new_tokens))
        # The last prompt must leave room for the longest output.
        reachable = np.minimum(last_context, MAX_CONTEXT - outputs.max(axis=1) + outputs[:, -1])
        missing = reachable - first_prompt - outputs.sum(axis=1) - results.sum(axis=1)
        nearest = (np.abs(missing) + last_context - reachable).argmin()
        if tools:
            results[nearest, results[nearest].argmax()] += missing[nearest]
        return list(map(_whole, results[nearest].tolist())), list(map(_whole, outputs[nearest].tolist()))

    def _kept(self, context: int) -> int | None:
        """Tokens that the next turn keeps of a context; None: all."""
        rewritten, level = self._random.random(2).tolist()
        if self._kind.kept_share is None or rewritten >= self._kind.rewritten_share:
            return None
        return int(context * float(self._kind.kept_share.at(level)))

    def _calls(self, tool: Tool, pause_s: float, result_tokens: int, agent_ids: Iterator[str]) -> tuple[ToolCall, ...]:
        """The calls of a turn. The first takes the whole pause, parallel ones a part of it, for equal results."""
        count = _whole(float(tool.calls.at(self._random.random())))
        shares = [1.0, *self._random.random(count - 1).tolist()]
        results = [result_tokens // count + (number < result_tokens % count) for number in range(count)]
        agents = [self._agent(next(agent_ids)) if tool.runs_agents else None for _ in range(count)]
        return tuple(
            ToolCall(tool.name, pause_s * share, tokens, agent)
            for share, tokens, agent in zip(shares, results, agents, strict=True)
        )

    def _agent(self, session_id: str) -> Session | None:
        return None if self._sub_agent is None else _Draws(self._sub_agent, None, self._random).session(session_id)

    def _shared(self, first_prompt: int) -> tuple[SharedPrefix, ...]:
        """System prompt and tools. Sessions of a kind with equally many tokens share them."""
        if self._kind.shared_prompt is None:
            return ()
        tokens = round(self._kind.shared_prompt.nearest(self._random.random()))
        if tokens >= first_prompt:
            return ()
        return (SharedPrefix(f"{CODING_AGENTS}/{self._kind.name}/{tokens}", tokens),)

    def _once(self, effect: Effect, quantiles: Quantiles) -> int:
        """A figure of which a session has one value."""
        return _whole(float(quantiles.at(normal_level(np.array(self._deviates[effect])))))

    def _levels(self, effect: Effect, shape: int | tuple[int, ...]) -> Values:
        return self._kind.levels(effect, self._deviates[effect], shape, self._random)


def _by_tool(tools: Sequence[Tool], levels: Values, figure: Callable[[Tool], Quantiles]) -> Values:
    """A figure of each turn by its tool. `levels`: [..., turn]."""
    values = np.empty_like(levels)
    for tool in set(tools):
        own = [place for place, other in enumerate(tools) if other is tool]
        values[..., own] = figure(tool).at(levels[..., own])
    return values


def _whole(value: float) -> int:
    return max(1, round(value))
