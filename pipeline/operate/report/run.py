"""The report on recorded traces: what they hold, and a counterfactual."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....models.serving.bundle import load_bundle
from ...results.metrics_file import OURS
from ...simulator.catalogue import VLLM
from ...simulator.profile import StepProfile
from ...step_times.engine import longest_request_tokens, nearest_engine
from .counterfactual import recorded_load, simulated
from .document import outcomes, table
from .outcome import Outcome, computed_again, computed_again_s, waits_by_size
from .recording import Recording


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of recorded traces."""

    recording: Recording
    bundle: Path
    profiles: Sequence[Path]
    agents: int | None = None  # the recording was a closed loop of so many
    ran: str = VLLM.name  # the policy of the recording


def report_of_traces(question: Question) -> str:
    """The report as Markdown. Raises errors of AugServe for unusable traces, profiles or bundles."""
    parts = [*_recorded(question.recording), "## Would it help?", *_counterfactual(question)]
    return "\n\n".join(parts)


def _recorded(recording: Recording) -> Iterator[str]:
    folder, sessions, turns = recording.folder, recording.sessions, recording.turns
    versions = sorted({turn.scheduler_version or "unknown" for own in sessions for turn in own})
    yield f"# AugServe: {folder.name or folder}"
    yield f"{len(turns):,} turns of {len(sessions):,} sessions, recorded by {', '.join(versions)}."
    yield "## Waits by length of the prompt"
    rows = [
        [name, f"{count:,}", *(f"{wait_s:.2f}" for wait_s in waits_s)] for name, count, *waits_s in waits_by_size(turns)
    ]
    yield table(["prompt tokens", "turns", "TTFT p50, s", "p90, s", "p99, s"], rows)
    yield "## Contexts that were lost"
    computed, again = computed_again(sessions)
    if not computed:
        yield "The traces do not tell what was cached."
        return
    yield f"{again:,} of {computed:,} computed prompt tokens ({again / computed:.0%}) had been in the cache before."


def _counterfactual(question: Question) -> Iterator[str]:
    recording = question.recording
    steps = recording.steps
    profiles = [StepProfile.load(path) for path in question.profiles]
    bundle = load_bundle(question.bundle, None)
    engine = nearest_engine(steps, profiles, longest_request_tokens(recording.sessions), bundle.settings.profile)
    load = recorded_load(recording.folder, engine, question.agents)
    recorded = Outcome.of(recording.turns, question.agents)
    policies = (question.ran, OURS if question.ran == VLLM.name else VLLM.name)
    again, other = (simulated(policy, load, engine, bundle) for policy in policies)
    limits = engine.profile.limits
    yield (
        f"The sessions ran in the simulator, on vLLM's real scheduler. Engine: `{engine.profile.name}`, its times "
        f"fitted to the recorded steps: × {engine.factor:.2f} in all, {engine.median_error:.0%} median error; "
        f"{limits.kv_tokens:,} tokens of KV cache, {limits.max_num_batched_tokens:,} a step, "
        f"{limits.max_num_seqs} sequences."
    )
    lost_s = computed_again_s(recording.sessions, engine.profile.linear)
    yield f"The contexts that were lost took about {lost_s / steps.busy_s:.1%} of the engine's time."
    if bundle.settings.profile != engine.profile.name:
        yield (
            f"**The bundle was tuned for another engine**, `{bundle.settings.profile}`: retrain it on these traces "
            "before you deploy it."
        )
    columns = {"recorded": recorded, f"{question.ran}, simulated": again, f"{policies[1]}, simulated": other}
    yield outcomes(columns)
    error, gain = (one.turns_per_minute / two.turns_per_minute - 1 for one, two in ((again, recorded), (other, again)))
    wait_error = again.ttft_p50_s - recorded.ttft_p50_s
    shorter, later_s = other.session_s / again.session_s - 1, other.ttft_p99_s - again.ttft_p99_s
    yield (
        f"Error on what was recorded: {error:+.1%} turns per minute, {wait_error:+.2f} s of the median TTFT. "
        f"With {policies[1]} in place of {question.ran}: {gain:+.1%} turns per minute, {shorter:+.1%} mean session "
        f"time, {later_s:+.2f} s of the TTFT's p99. A difference below the error means nothing."
    )
    if changed := load.adjustments.lines():
        yield f"Differences from the recording: {'; '.join(changed)}."
