"""Stage `prepare`: writes a training table for each target, from recorded and generated sessions, split by session.

Memory holds one bucket of sessions at a time, so that the traces may be larger.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field
from tqdm import tqdm

from ...data.atomic import replace_folder, write_json
from ...data.tables.buckets import bucketed
from ...data.tables.splits import SPLIT_SEEDS, position
from ...data.workload.mix import MIX, augmentation_sessions
from ...models.learning.training_set import UNKNOWN_TOOLS
from ...models.serving.target import TARGETS, TOOL_DURATION
from ..project import paths
from ..project.params import BaseParams, SplitShares, load_params
from ..project.trace_sources import DataParams, present_sources
from .arrivals import Arrivals
from .examples import source_examples, unknown_tool_examples
from .mix_turns import mix_turns
from .spool import Spool
from .training_turns import TrainingTurn, read_training_turns

logger = logging.getLogger(__name__)

METRICS = Path("reports/prepare/metrics.json")


class PrepareParams(SplitShares, extra="forbid"):
    mix_sessions: int = Field(ge=0)
    mix_rate_per_s: float = Field(gt=0)
    max_turns: int = Field(ge=1)


def main() -> None:
    seed = load_params(BaseParams).seed
    params = load_params(PrepareParams)
    folders = [source.folder for source in present_sources(load_params(DataParams))]
    paths.TRAINING.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=paths.TRAINING.parent, prefix=".prepare-") as scratch:
        counts = dict.fromkeys(("recorded_turns", "turns_with_rebuilt_features", "unfinished_turns"), 0)
        arrivals = Arrivals(_folder(scratch, "turns"))
        for bucket in tqdm(bucketed(folders, _folder(scratch, "buckets")), desc="prepare: sessions", unit="bucket"):
            turns = read_training_turns(bucket)
            arrivals.add(turns)
            counts["recorded_turns"] += len(turns)
            counts["turns_with_rebuilt_features"] += sum(turn.features is None for turn in turns)
            counts["unfinished_turns"] += sum(turn.past.finish_s is None for turn in turns)
        if params.mix_sessions:
            sessions = augmentation_sessions(params.mix_sessions, params.mix_rate_per_s, seed + SPLIT_SEEDS["train"])
            progress = tqdm(sessions, desc=f"prepare {MIX}: sessions")
            arrivals.add([turn for session in progress for turn in mix_turns(session)])
        with Spool(_folder(scratch, "rows")) as spool:
            add_examples(spool, arrivals, params.max_turns, seed)
            rows = {}

            def fill(folder: Path) -> None:
                rows.update(spool.write(folder, params.validation_share, params.test_share))

            replace_folder(paths.TRAINING, fill)
    write_json(METRICS, {"rows": rows, "censored_rows": spool.censored} | counts)
    logger.info(
        "%d recorded turns, %d with features computed again from the trace",
        counts["recorded_turns"],
        counts["turns_with_rebuilt_features"],
    )


def add_examples(spool: Spool, arrivals: Arrivals, max_turns: int, seed: int) -> None:
    """The rows of every source, of a sample of its sessions where it has more than `max_turns` turns."""
    for target in TARGETS:
        spool.open(target.name, target)
    for source, facts in sorted(arrivals.sources.items()):
        share = max_turns / facts.turns

        def sampled(turn: TrainingTurn, share: float = share) -> bool:
            return share >= 1 or position(turn.split_group, f"sample {seed}: ") < share

        if share < 1:
            logger.warning("prepare: %s: learns from a sample of %.1f %% of the sessions", source, 100 * share)
        for example in source_examples(arrivals, source, sampled):
            spool.add(example.target.name, [example])
        if facts.tools_renamed:
            spool.open(UNKNOWN_TOOLS, TOOL_DURATION)
            spool.add(UNKNOWN_TOOLS, unknown_tool_examples(arrivals, source, sampled))


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder
