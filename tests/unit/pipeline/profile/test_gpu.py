import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from augserve.pipeline.profile import gpu as profile_gpu
from augserve.pipeline.profile.engines import ENGINES, LLAMA_8B, QWEN3_32B
from augserve.pipeline.profile.fit import Work
from augserve.pipeline.profile.kernels import gpu_profile
from augserve.pipeline.profile.stepper import VllmStepper, write_config
from augserve.pipeline.project.stage import StageError

NAME = "llama-3.1-8b-h100"


@pytest.fixture(scope="module")
def profile():
    return gpu_profile(NAME, ENGINES[NAME], 0.92)[0]


class ProfileStepper:
    """An engine as slow as `factor` times the profile, slower yet in its first two steps, with one outlier."""

    def __init__(self, profile, factor):
        self.profile, self.factor = profile, factor

    def steps_s(self, work, repeats):
        seconds = self.factor * work.seconds(self.profile)
        return [30 * seconds, 9 * seconds, 5 * seconds, *[seconds] * (repeats - 3)]


def test_the_grid_covers_every_region_and_fits_the_engine(profile):
    works = profile_gpu.grid(profile.limits)
    assert {work.region for work in works} == {"decode", "prefill", "mixed"}
    assert all(work.tokens + work.decodes <= profile.limits.max_num_batched_tokens for work in works)
    assert all(work.chunk_context + work.decodes * work.decode_context <= profile.limits.kv_tokens for work in works)
    assert max(work.context for work in works) > 32_768


def test_the_errors_of_the_shipped_profile_are_written(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(profile_gpu, "REPORTS", tmp_path)
    works = profile_gpu.grid(profile.limits)
    seconds = profile_gpu.measured_s(ProfileStepper(profile, 1.25), works)
    found = profile_gpu.report(profile, works, seconds)
    # Warm-up and outlier are left out: the profile is 20 % too fast, everywhere.
    assert found["median_relative_error"] == pytest.approx(0.2)
    assert found["total_time_error"] == pytest.approx(-0.2)
    assert found["decode_median_relative_error"] == pytest.approx(0.2)
    assert json.loads((tmp_path / f"{NAME}-measured.json").read_text()) == found
    assert len((tmp_path / f"{NAME}-measured.csv").read_text().splitlines()) == len(works) + 1


def test_each_measured_step_is_counted(profile):
    counted = []
    works = [Work(64, 1, 0, 0, 0), Work(0, 0, 0, 8, 256)]
    profile_gpu.measured_s(ProfileStepper(profile, 1.0), works, lambda: counted.append(1))
    assert len(counted) == 2


def test_a_missing_gpu_is_an_error_of_one_line(tmp_path):
    command = [sys.executable, "-m", "augserve.pipeline.profile.gpu"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: profile-gpu")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("title", "count", "wanted", "found"),
    [
        ("NVIDIA H100 80GB HBM3", 1, None, "llama-3.1-8b-h100"),
        ("NVIDIA H100 80GB HBM3", 4, "llama-3.1-70b-4xh100", "llama-3.1-70b-4xh100"),
        ("NVIDIA A100-SXM4-80GB", 1, None, "llama-3.1-8b-a100"),
        ("NVIDIA H100 80GB HBM3", 1, "llama-3.1-70b-4xh100", None),
        ("NVIDIA L4", 1, None, None),
    ],
)
def test_the_chosen_profile_fits_the_gpus(monkeypatch, title, count, wanted, found):
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: title, device_count=lambda: count)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(profile_gpu.importlib.util, "find_spec", lambda name: name)
    if found:
        assert profile_gpu.engine_at_hand(wanted) == found
    else:
        with pytest.raises(StageError, match=title):
            profile_gpu.engine_at_hand(wanted)


def test_a_missing_vllm_is_named(monkeypatch):
    monkeypatch.setattr(profile_gpu.importlib.util, "find_spec", lambda name: None if name == "vllm" else name)
    with pytest.raises(StageError, match="vllm is not installed"):
        profile_gpu.engine_at_hand(None)


class Engine:
    """vLLM's engine in so far as the stepper uses it: a step computes what fits `budget`, prefixes cached."""

    def __init__(self, budget):
        self.budget, self.left, self.cached, self.steps = budget, {}, set(), []

    def add_request(self, name, prompt, params):
        ids = prompt["prompt_token_ids"]
        known = max((size for size in range(len(ids)) if tuple(ids[:size]) in self.cached), default=0)
        self.left[name] = [len(ids) - known, params.max_tokens, tuple(ids)]

    def step(self):
        room, sampled, work = self.budget, [], []
        for name, state in self.left.items():
            tokens = min(room, state[0])
            room, state[0] = room - tokens, state[0] - tokens
            if tokens:
                work.append(tokens)
            if tokens and not state[0]:
                state[0], state[1] = 1, state[1] - 1
                self.cached.add(state[2])
                sampled.append(SimpleNamespace(request_id=name, outputs=[SimpleNamespace(token_ids=[7])]))
        self.steps.append(work)
        self.left = {name: state for name, state in self.left.items() if state[1]}
        return sampled

    def abort_request(self, names):
        for name in names:
            self.left.pop(name, None)


def test_the_stepper_times_exactly_the_requested_work():
    engine = Engine(budget=1000)
    stepper = VllmStepper(SimpleNamespace(llm_engine=engine), 500, seed=1)
    times = stepper.steps_s(Work(200, 2, 64, 5, 30), 3)
    assert len(times) == 3
    assert all(time > 0 for time in times)
    assert engine.steps[-3:] == [[1, 1, 1, 1, 1, 200, 200]] * 3
    assert engine.left == {}


def test_split_work_is_an_error_and_leaves_no_request():
    engine = Engine(budget=100)
    stepper = VllmStepper(SimpleNamespace(llm_engine=engine), 500, seed=1)
    with pytest.raises(StageError, match="split"):
        stepper.steps_s(Work(200, 1, 0, 2, 30), 3)
    assert engine.left == {}


@pytest.mark.parametrize("model", [LLAMA_8B, QWEN3_32B])
def test_the_written_configuration_has_the_model_s_shape(tmp_path, model):
    from transformers import AutoConfig

    write_config(model, tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    assert heads == (model.heads, model.kv_heads, model.head_size)
    assert (config.num_hidden_layers, config.vocab_size) == (model.layers, model.vocabulary)
    assert np.isclose(config.max_position_embeddings, model.max_model_len)
