import itertools

import pytest

from augserve.data.workload.built_in import SEQUENCES, built_in_load
from augserve.data.workload.coding_agents.sessions import CODING_AGENTS
from augserve.data.workload.mix import MIX_SWING
from augserve.data.workload.model import WorkloadError


@pytest.mark.parametrize("workload", SEQUENCES)
def test_a_sequence_never_repeats_a_session_and_depends_on_its_seed_alone(workload):
    def drawn(seed):
        return [session.session_id for session in itertools.islice(SEQUENCES[workload](seed), 40)]

    assert len(set(drawn(1))) == 40
    assert drawn(1) == drawn(1)
    assert not set(drawn(1)) & set(drawn(2))


@pytest.mark.parametrize("workload", SEQUENCES)
def test_a_load_fits_the_context_of_the_model(workload):
    load = built_in_load(workload, 4, 200.0, 1, context_tokens=32_768)
    assert load.agents == 4
    for session in (own for root in load.sessions for own in root.tree()):
        assert max(session.prompt_lengths()) + session.max_tokens <= 32_768


def test_a_workload_without_a_closed_loop_is_named():
    with pytest.raises(WorkloadError, match="swing"):
        built_in_load(MIX_SWING, 4, 100.0, 1)


def test_a_context_too_small_for_every_session_is_one_line():
    with pytest.raises(WorkloadError, match="exceed the context of 4096 tokens"):
        built_in_load(CODING_AGENTS, 4, 100.0, 1, context_tokens=4096)
