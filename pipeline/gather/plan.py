"""The plan of a session, fixed before it starts: its prompts, its tools and the calls between its turns."""

from collections.abc import Mapping
from dataclasses import dataclass


class PlanError(ValueError):
    """A task drafts an invalid session."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call: the tool's name, and arguments that fit its schema."""

    tool: str
    arguments: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """One LLM call. `instruction` is the user's request in turn 0, and the text below the tool's result later."""

    instruction: str
    style: str  # form of the requested answer, of tasks.yaml
    tool_use: ToolUse | None  # the call after the turn; None ends the session


@dataclass(frozen=True, slots=True)
class Draft:
    """A session without its time of arrival."""

    system: str
    tools: tuple[str, ...]  # offered to the model, by name
    turns: tuple[TurnPlan, ...]

    def __post_init__(self) -> None:
        calls = [turn.tool_use for turn in self.turns]
        if not calls or calls[-1] is not None or None in calls[:-1]:
            raise PlanError("each turn but the last needs a tool call; correct the task")
        if unknown := {call.tool for call in calls if call} - set(self.tools):
            raise PlanError(f"tools {sorted(unknown)} are called but not offered; correct the task")


@dataclass(frozen=True, slots=True)
class SessionPlan:
    session_id: str
    kind: str  # name of the task
    arrival_s: float  # since the start of the run
    temperature: float
    seed: int  # of the model's sampling
    draft: Draft
