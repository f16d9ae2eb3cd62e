"""The support matrix: what AugServe was tested with, what it refuses, and what nobody has tried.

The guide's table and `augserve check` both read it. A test checks that each named test exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..names import VllmConfig
from ..setups import api_servers, is_diffusion, is_synchronous_pipeline, splits_sessions

State = Literal["tested", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Combination:
    """A feature of vLLM beside AugServe."""

    feature: str
    state: State
    effect: str = ""  # on AugServe, or the limits of the tests
    tests: tuple[str, ...] = ()
    used: Callable[[VllmConfig], bool] | None = None  # whether a server uses it; None: each request decides
    remedy: str = ""  # for the one who wants all of AugServe


def used_combinations(config: VllmConfig) -> list[Combination]:
    return [row for row in COMBINATIONS if row.used is not None and row.used(config)]


def _speculates(config: VllmConfig, with_ngrams: bool) -> bool:
    speculative = config.speculative_config
    return speculative is not None and (speculative.method == "ngram") == with_ngrams


def _slides(config: VllmConfig) -> bool:
    layers = set(getattr(config.model_config.hf_text_config, "layer_types", None) or ())
    return "sliding_attention" in layers and len(layers) > 1


def _connects(config: VllmConfig, by_offloading: bool) -> bool:
    transfer = config.kv_transfer_config
    return transfer is not None and (transfer.kv_connector == "OffloadingConnector") == by_offloading


def _is_several(config: VllmConfig) -> bool:
    parallel = config.parallel_config
    return parallel.data_parallel_size > 1 and parallel.data_parallel_external_lb


_EACH_FEATURE = "test_every_request_ends_with_each_feature"
_AS_STOCK = "test_outputs_in_other_modes_equal_those_of_stock_vllm"
_LONG_RUN = "test_nothing_is_lost_and_no_call_takes_long_in_a_long_run"
_REFUSAL = "test_a_setup_with_wrong_answers_is_refused_in_one_line"

COMBINATIONS = (
    Combination(
        "Priority policy (`--scheduling-policy priority`)",
        "tested",
        "vLLM chooses whom it preempts",
        (_EACH_FEATURE, "test_a_low_priority_does_not_use_up_the_bound_on_waits_of_a_higher_one"),
        lambda config: config.scheduler_config.policy == "priority",
    ),
    Combination(
        "LoRA",
        "tested",
        "",
        (_EACH_FEATURE, "test_turns_without_a_slot_for_their_adapter_cost_a_step_nothing"),
        lambda config: config.lora_config is not None,
    ),
    Combination(
        "Structured output",
        "tested",
        "",
        (
            _AS_STOCK,
            "test_a_request_waits_for_its_grammar_and_others_pass",
            "test_a_grammar_that_does_not_compile_ends_its_request_alone",
        ),
    ),
    Combination(
        "Speculative decoding, n-gram drafts",
        "tested",
        "",
        (_EACH_FEATURE, "test_drafts_count_as_decodes_in_the_budget"),
        lambda config: _speculates(config, with_ngrams=True),
    ),
    Combination(
        "Speculative decoding, other methods",
        "unknown",
        used=lambda config: _speculates(config, with_ngrams=False),
    ),
    Combination(
        "Streaming input",
        "tested",
        "",
        (_AS_STOCK, "test_a_streaming_session_reads_inputs_that_arrive_while_it_decodes"),
    ),
    Combination(
        "No chunked prefill",
        "tested",
        "the token budget is not steered",
        (_EACH_FEATURE, "test_without_chunked_prefill_the_budget_is_left_alone"),
        lambda config: not config.scheduler_config.enable_chunked_prefill,
        "remove --no-enable-chunked-prefill",
    ),
    Combination(
        "No prefix caching",
        "tested",
        "nothing is pinned or held",
        (_EACH_FEATURE, "test_without_prefix_caching_nothing_is_pinned_or_held"),
        lambda config: not config.cache_config.enable_prefix_caching,
        "remove --no-enable-prefix-caching",
    ),
    Combination(
        "Pause, resume, reset of the prefix cache",
        "tested",
        "in mode `active`",
        (
            "test_a_paused_engine_schedules_or_admits_nothing_and_resumes",
            "test_a_reset_of_the_prefix_cache_answers_as_in_vllm",
        ),
    ),
    Combination(
        "Sleep mode on a server",
        "unknown",
        "the engine pauses and resets as above",
        used=lambda config: bool(config.model_config.enable_sleep_mode),
    ),
    Combination(
        "Images, whole per prefill (`disable_chunked_mm_input`)",
        "tested",
        "in mode `active`; the token budget is not steered",
        (_LONG_RUN, "test_an_image_that_must_stay_whole_is_computed_in_one_step"),
        lambda config: bool(config.scheduler_config.disable_chunked_mm_input),
    ),
    Combination(
        "Other multimodal models",
        "unknown",
        used=lambda config: (
            bool(config.model_config.is_multimodal_model) and not config.scheduler_config.disable_chunked_mm_input
        ),
    ),
    Combination(
        "Hybrid models with a sliding window",
        "tested",
        "",
        ("test_every_request_of_a_hybrid_model_ends",),
        _slides,
    ),
    Combination(
        "Hybrid models with Mamba layers",
        "unknown",
        "with aligned blocks the token budget is not steered",
        used=lambda config: bool(config.model_config.is_hybrid),
    ),
    Combination(
        "Pooling models",
        "tested",
        "they generate nothing, so nothing is predicted",
        ("test_every_request_of_a_pooling_model_ends",),
        lambda config: config.model_config.runner_type == "pooling",
    ),
    Combination(
        "Encoder-decoder models",
        "unknown",
        used=lambda config: bool(config.model_config.is_encoder_decoder),
    ),
    Combination(
        "Prompts of embeddings (`--enable-prompt-embeds`)",
        "unknown",
        "their sessions are recognised by ids alone",
        used=lambda config: bool(config.model_config.enable_prompt_embeds),
    ),
    Combination("Diffusion models", "refused", "", (_REFUSAL,), is_diffusion),
    Combination(
        "Pipeline parallelism, asynchronous scheduling",
        "tested",
        "in mode `active`, without the stages' workers",
        (_LONG_RUN, "test_a_decode_of_an_asynchronous_pipeline_waits_for_its_input_token"),
        lambda config: config.parallel_config.pipeline_parallel_size > 1 and not is_synchronous_pipeline(config),
    ),
    Combination("Pipeline parallelism, synchronous scheduling", "refused", "", (_REFUSAL,), is_synchronous_pipeline),
    Combination(
        "Data parallelism, vLLM's own balancing",
        "tested",
        "one engine of it; the middleware keeps a session that a header names on one engine",
        (
            "test_one_engine_of_several_has_its_own_label_and_reports_finished_requests",
            "test_engines_that_may_share_sessions_warn_of_it_and_record",
        ),
        splits_sessions,
        "name sessions by a header; `/v1/responses` goes to vLLM's balancer",
    ),
    Combination(
        "Data parallelism, `--data-parallel-external-lb`",
        "tested",
        "in mode `active`, one engine of it",
        (_LONG_RUN, "test_an_engine_whose_sessions_are_its_own_records_traces"),
        _is_several,
    ),
    Combination(
        "Several API servers (`--api-server-count`)",
        "tested",
        "the start; `refuse_after_s` is refused",
        ("test_early_refusal_with_several_api_servers_is_refused_in_one_line",),
        lambda config: api_servers(config) > 1,
    ),
    Combination(
        "Tensor and expert parallelism",
        "unknown",
        "vLLM's scheduler does not see them",
        used=lambda config: (
            config.parallel_config.tensor_parallel_size > 1 or config.parallel_config.enable_expert_parallel
        ),
    ),
    Combination(
        "Context parallelism",
        "unknown",
        "a block holds more tokens than here",
        used=lambda config: (
            config.parallel_config.decode_context_parallel_size > 1
            or config.parallel_config.prefill_context_parallel_size > 1
        ),
    ),
    Combination(
        "KV offloading to host memory",
        "tested",
        "in the simulator, in mode `active`",
        (
            "test_offloading_helps_every_kind_of_policy_with_a_scarce_cache",
            "test_no_block_leaks_with_any_host_and_link",
        ),
        lambda config: _connects(config, by_offloading=True),
    ),
    Combination(
        "Other KV connectors, prefill and decode on different engines",
        "unknown",
        used=lambda config: _connects(config, by_offloading=False),
    ),
)
