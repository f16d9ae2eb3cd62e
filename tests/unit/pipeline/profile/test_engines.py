import dataclasses

import pytest

from augserve.pipeline.profile.engines import ENGINES, H100, LLAMA_8B, LLAMA_70B, QWEN3_32B
from augserve.pipeline.profile.kernels import kv_transfer


@pytest.mark.parametrize(
    ("model", "parameters"), [(LLAMA_8B, 8_030_261_248), (LLAMA_70B, 70_553_706_496), (QWEN3_32B, 32_762_123_264)]
)
def test_weight_bytes_match_the_published_models(model, parameters):
    assert model.weight_bytes == 2 * parameters


def test_kv_bytes_of_a_token_are_keys_and_values_of_all_layers():
    assert LLAMA_8B.kv_token_bytes == 131_072
    assert QWEN3_32B.kv_token_bytes == 262_144


def test_limits_of_llama_8b_are_vllm_s_defaults():
    limits = ENGINES["llama-3.1-8b-h100"].limits(0.92)
    assert (limits.kv_tokens, limits.max_model_len) == (455_528, 131_072)
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (8192, 1024)
    limits = ENGINES["llama-3.1-8b-a100"].limits(0.92)
    assert (limits.kv_tokens, limits.max_num_batched_tokens, limits.max_num_seqs) == (460_443, 2048, 256)


def test_tensor_parallel_gpus_share_weights_and_cache():
    one = dataclasses.replace(ENGINES["llama-3.1-70b-4xh100"], tensor_parallel=1)
    assert one.limits(0.92).kv_tokens == 0
    limits = ENGINES["llama-3.1-70b-4xh100"].limits(0.92)
    memory = 4 * (H100.memory * 0.92 - H100.reserve) - LLAMA_70B.weight_bytes
    assert limits.kv_tokens == pytest.approx(memory / LLAMA_70B.kv_token_bytes, rel=0.05)


def test_a_model_length_beyond_the_cache_is_cut_to_whole_blocks():
    limits = ENGINES["qwen3-32b-h100"].limits(0.92)
    assert limits.max_model_len < QWEN3_32B.max_model_len
    assert limits.kv_tokens - 16 < limits.max_model_len <= limits.kv_tokens
    assert limits.max_model_len % 16 == 0


def test_kv_moves_over_each_gpu_s_own_link():
    one, four = (kv_transfer(ENGINES[name]) for name in ("llama-3.1-8b-h100", "llama-3.1-70b-4xh100"))
    assert (one.token_bytes, one.bytes_per_s) == (131_072, 64e9)  # PCIe 5.0 x16
    assert (four.token_bytes, four.bytes_per_s) == (327_680, 4 * 64e9)
    assert kv_transfer(ENGINES["llama-3.1-8b-a100"]).bytes_per_s == 32e9  # PCIe 4.0 x16
    assert "pcie_bw" in one.source
