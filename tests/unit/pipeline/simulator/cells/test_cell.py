import dataclasses

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.cells.cell import CLOSED_LOOP_BLOCK_TOKENS, Cell, cell_profile
from augserve.pipeline.simulator.cells.schedule import Schedule

from ..test_profile import PROFILE


def test_closed_loops_have_larger_kv_blocks_and_open_loops_those_of_the_profile(tmp_path):
    large = dataclasses.replace(PROFILE, limits=dataclasses.replace(PROFILE.limits, kv_tokens=1_000_000))
    large.save(tmp_path / "p.json")
    loop = Cell("mixed", "vllm", tmp_path / "p.json", None, 1, Schedule(1, 1, 1), SchedulerSettings(), None, agents=4)
    assert cell_profile(loop).limits.block_tokens == CLOSED_LOOP_BLOCK_TOKENS
    assert cell_profile(dataclasses.replace(loop, agents=None, rate_per_s=1.0)) == large
