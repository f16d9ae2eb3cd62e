import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.profile import (
    LEAST_BLOCKS,
    EngineLimits,
    KvTransfer,
    PrefillAttention,
    ProfileError,
    StepProfile,
)

PROFILE = StepProfile(
    name="test",
    source="by hand",
    limits=EngineLimits(4096, 2048, 64, 201),
    tokens=(1, 101, 201),
    table_s=(0.010, 0.020, 0.050),
    per_decode_s=0.001,
    per_context_token_s=1e-5,
    linear=StepTime(),
    residual={"median_relative_error": 0.02},
)


def test_step_time_interpolates_the_table_and_adds_decodes_and_context():
    assert PROFILE.step_s(51, 0, 0) == pytest.approx(0.015)
    assert PROFILE.step_s(41, 10, 100) == pytest.approx(0.015 + 0.010 + 0.001)


def test_step_time_is_extrapolated_linearly_beyond_the_table():
    assert PROFILE.step_s(301, 0, 0) == pytest.approx(0.080)


def test_prompt_chunks_cost_by_their_query_key_pairs():
    profile = dataclasses.replace(PROFILE, prefill=PrefillAttention(0.001, 1e-5, 1e-6, 1e-8))
    # Two chunks of 20 tokens, after 100 and 300 tokens, and ten decodes at 50 tokens of context.
    pairs = 20 * (100 + 10) + 20 * (300 + 10)
    attention = 0.001 + 40e-5 + 440e-6 + pairs * 1e-8
    expected = 0.0149 + 10 * 0.001 + 500e-5 + attention
    assert profile.step_s(40, 10, 940, 440, pairs) == pytest.approx(expected)
    assert profile.step_s(0, 10, 500) == PROFILE.step_s(0, 10, 500)


def test_chunks_have_no_context_by_default():
    profile = dataclasses.replace(PROFILE, prefill=PrefillAttention(0.001, 1e-5, 1e-6, 1e-8))
    assert profile.step_s(40, 10, 540) == pytest.approx(profile.step_s(40, 10, 540, 40, 256 * 40))


def test_an_empty_step_takes_no_time():
    assert PROFILE.step_s(0, 0, 0) == 0.0


@given(st.integers(0, 1000), st.integers(0, 200), st.integers(0, 10**6))
def test_more_work_never_takes_less_time(prefill, decodes, context):
    assert PROFILE.step_s(prefill + 1, decodes, context) >= PROFILE.step_s(prefill, decodes, context)
    assert PROFILE.step_s(prefill, decodes + 1, context) >= PROFILE.step_s(prefill, decodes, context)


def test_a_profile_survives_json(tmp_path):
    PROFILE.save(tmp_path / "p.json")
    assert StepProfile.load(tmp_path / "p.json") == PROFILE


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": (1, 101)},
        {"tokens": (1, 201, 101)},
        {"tokens": (5, 101, 201)},
        {"table_s": (0.0, 0.0, 0.0)},
    ],
)
def test_an_inconsistent_profile_is_refused(change):
    with pytest.raises(ProfileError, match=r"profile test: .*dvc repro profile"):
        dataclasses.replace(PROFILE, **change)


def test_a_falling_table_is_refused():
    with pytest.raises(ProfileError, match="table falls"):
        dataclasses.replace(PROFILE, table_s=(0.01, 0.02, 0.015))


def test_a_table_too_short_for_the_token_budget_is_refused():
    with pytest.raises(ProfileError, match="budget of 512"):
        dataclasses.replace(PROFILE, limits=EngineLimits(4096, 2048, 64, 512))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda value: value.pop("tokens"), "tokens"),
        (lambda value: value.update(format=99), "format"),
        (lambda value: value.update(extra=1), "extra"),
        (lambda value: value["limits"].pop("kv_tokens"), "kv_tokens"),
        (lambda value: value["table_s"].pop(1), "3 token counts and 2 times"),
        (lambda value: value["table_s"].__setitem__(1, None), "table_s.1"),
        (lambda value: value["table_s"].__setitem__(1, float("nan")), "table_s.1"),
        (lambda value: value["tokens"].__setitem__(1, 2.5), "tokens.1"),
        (lambda value: value.update(per_decode_s=-1.0), "per_decode_s"),
        (lambda value: value["limits"].update(kv_tokens=0), "kv_tokens"),
        (lambda value: value["limits"].update(max_num_seqs=2.5), "max_num_seqs"),
        (lambda value: value["limits"].update(extra=1), "extra"),
        (lambda value: value.update(prefill=[0.0, 0.0, 0.0, 1.0]), "prefill"),
        (lambda value: value.update(transfer={"token_bytes": 1, "bytes_per_s": 0.0, "source": "x"}), "bytes_per_s"),
        (lambda value: value["linear"].update(base_s="fast"), "base_s"),
        (lambda value: value.update(prefill={"start_s": 0.1}), "per_token_s"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, spoil, cause):
    path = tmp_path / "p.json"
    PROFILE.save(path)
    value = json.loads(path.read_text())
    spoil(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ProfileError, match=rf"p\.json.*{cause}.*dvc repro profile") as error:
        StepProfile.load(path)
    assert "\n" not in str(error.value)


def test_a_file_from_before_prefill_attention_and_block_tokens_loads(tmp_path):
    path = tmp_path / "p.json"
    PROFILE.save(path)
    value = json.loads(path.read_text())
    del value["prefill"], value["limits"]["block_tokens"], value["limits"]["host_kv_tokens"]
    path.write_text(json.dumps(value))
    assert StepProfile.load(path) == PROFILE


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ProfileError, match="dvc repro profile"):
        StepProfile.load(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ProfileError, match="dvc repro profile"):
        StepProfile.load(tmp_path / "p.json")


TRANSFER = KvTransfer(token_bytes=1 << 17, bytes_per_s=64e9, source="by hand")


def test_host_memory_is_counted_in_tokens_and_survives_json(tmp_path):
    profile = dataclasses.replace(PROFILE, transfer=TRANSFER).with_host_memory(2.0)
    assert profile.limits == dataclasses.replace(PROFILE.limits, host_kv_tokens=1 << 14)
    profile.save(tmp_path / "p.json")
    assert StepProfile.load(tmp_path / "p.json") == profile


@pytest.mark.parametrize("gib", [0.0, -1.0, float("nan"), float("inf")])
def test_host_memory_must_be_positive(gib):
    with pytest.raises(ProfileError, match="KV offloading"):
        dataclasses.replace(PROFILE, transfer=TRANSFER).with_host_memory(gib)


def test_host_memory_without_a_bandwidth_to_it_is_refused():
    with pytest.raises(ProfileError, match="bandwidth"):
        PROFILE.with_host_memory(2.0)
    with pytest.raises(ProfileError, match="bandwidth"):
        dataclasses.replace(PROFILE, limits=dataclasses.replace(PROFILE.limits, host_kv_tokens=16))


def test_blocks_of_a_large_cache_become_larger_and_never_smaller():
    large = dataclasses.replace(PROFILE, limits=dataclasses.replace(PROFILE.limits, kv_tokens=64 * LEAST_BLOCKS))
    assert large.with_blocks(64).limits == dataclasses.replace(large.limits, block_tokens=64)
    assert large.with_blocks(64).with_blocks(32).limits.block_tokens == 64


def test_a_small_cache_keeps_its_blocks():
    small = dataclasses.replace(PROFILE, limits=dataclasses.replace(PROFILE.limits, kv_tokens=64 * LEAST_BLOCKS - 1))
    assert small.with_blocks(64) == small
