"""What a folder of traces holds. It is read before the simulator is imported, which takes seconds."""

from dataclasses import dataclass
from pathlib import Path

from ....data.tables.sessions import RecordedTurn, read_sessions
from ...project.stage import StageError
from ...step_times.steps import RecordedSteps
from .outcome import SeenTurn, recorded_turns


@dataclass(frozen=True, slots=True)
class Recording:
    folder: Path
    sessions: list[tuple[RecordedTurn, ...]]
    turns: list[SeenTurn]
    steps: RecordedSteps

    @classmethod
    def read(cls, folder: Path) -> "Recording":
        """Raises TraceError for unusable files, StageError for no turns or too few steps."""
        sessions = read_sessions([folder], vectors=False)
        if not sessions:
            raise StageError(f"{folder}: no turn is recorded there; record under load, or correct the path")
        return cls(folder, sessions, recorded_turns(sessions), RecordedSteps.read(folder))
