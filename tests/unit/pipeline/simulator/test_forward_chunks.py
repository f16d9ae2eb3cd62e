import dataclasses
from types import SimpleNamespace

import pytest

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.forward import ForwardPass
from augserve.pipeline.simulator.profile import EngineLimits, PrefillAttention, StepProfile

PROFILE = StepProfile(
    name="chunks",
    source="by hand",
    limits=EngineLimits(4096, 4096, 64, 1000),
    tokens=(1, 1001),
    table_s=(0.0, 1.0),
    per_decode_s=0.0,
    per_context_token_s=1e-4,
    linear=StepTime(),
    prefill=PrefillAttention(0.5, 0.0, 1e-3, 1e-5),
)


def scheduled():
    """A decode at 300 tokens of context, a chunk of 40 after 100 computed tokens, a new prompt of 20 after 60."""
    counts = {"decode": 1, "chunk": 40, "new": 20}
    return SimpleNamespace(
        num_scheduled_tokens=counts,
        total_num_scheduled_tokens=sum(counts.values()),
        scheduled_cached_reqs=SimpleNamespace(req_ids=["decode", "chunk"], num_computed_tokens=[299, 100]),
        scheduled_new_reqs=[SimpleNamespace(req_id="new", num_computed_tokens=60)],
    )


def begin(profile):
    requests = {name: SimpleNamespace(is_prefill_chunk=False) for name in scheduled().num_scheduled_tokens}
    return ForwardPass(profile).begin(SimpleNamespace(requests=requests), scheduled())


def test_chunks_cost_by_their_query_key_pairs():
    step = begin(PROFILE)
    assert (step.prefill_tokens, step.decode_sequences, step.context_tokens) == (60, 1, 520)
    pairs = 40 * (100 + 20) + 20 * (60 + 10)
    assert step.step_s == pytest.approx(0.060 + 0.5 + 220e-3 + pairs * 1e-5 + 300e-4)


def test_without_prefill_attention_all_context_costs_the_same():
    assert begin(dataclasses.replace(PROFILE, prefill=None)).step_s == pytest.approx(0.060 + 520e-4)
