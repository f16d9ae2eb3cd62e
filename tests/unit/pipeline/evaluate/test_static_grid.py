import pytest

from augserve.pipeline.evaluate.static_grid import StaticGrid, search
from augserve.pipeline.results.tables import best_setting
from augserve.pipeline.simulator.catalogue import MARS, SESSION_LIMIT, VLLM, find

GRID = StaticGrid(
    budgets=(512, 1024, 2048),
    sequences=(64, 256, 1024),
    prefills=(128, 256),
    adaptives=(256,),
    watermarks=(0.05,),
    sessions=(4, 8),
)


def peak_at(name):
    """Scores that fall with each setting that differs from those of `name`."""
    _, best = find(name)
    fields = ("budget", "sequences", "prefill", "adaptive", "watermark", "sessions")

    def scores(names):
        found = [find(each)[1] for each in names]
        return [sum(getattr(setting, field) == getattr(best, field) for field in fields) for setting in found]

    return scores


@pytest.mark.parametrize("name", ["vllm@512x64", "vllm", "vllm@2048x1024,prefill=256", "vllm@1024,adaptive=256"])
def test_the_best_static_setting_is_found(name):
    assert best_setting(search(VLLM, GRID, peak_at(name))) == name


def test_of_equal_settings_the_default_wins():
    assert best_setting(search(MARS, GRID, lambda names: [0.0] * len(names))) == "mars"


def test_the_limit_on_sessions_has_no_default_and_is_searched_first():
    tried = search(SESSION_LIMIT, GRID, peak_at("session-limit@512,sessions=8"))
    assert list(tried)[:2] == ["session-limit@sessions=4", "session-limit@sessions=8"]
    assert best_setting(tried) == "session-limit@512,sessions=8"


def test_no_setting_is_tried_twice_and_none_has_more_sequences_than_tokens():
    seen = []

    def scores(names):
        seen.extend(names)
        return peak_at("vllm@512x64")(names)

    search(VLLM, GRID, scores)
    assert len(seen) == len(set(seen)) == 1 + 3 + 2 + 2 + 1 + 1
