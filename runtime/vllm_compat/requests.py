"""Facts of vLLM's requests: whether one decodes, its tokens as prefixes, and its headers."""

from collections.abc import Mapping

from ..sessions.prefix import OWN_BLOCK_TOKENS, Prefix, own_hashes
from .names import Request


def is_decode(request: Request, scheduled_tokens: int) -> bool:
    """Whether the request decodes in the step that `schedule()` has just given `scheduled_tokens`."""
    before = request.num_computed_tokens - scheduled_tokens
    return before >= request.num_prompt_tokens and scheduled_tokens <= 1 + len(request.spec_token_ids)


def prompt_prefix(request: Request, block_tokens: int) -> Prefix | None:
    """The prompt with vLLM's block hashes, or with AugServe's own if prefix caching is off.

    None if token ids do not identify the prompt: embeddings, or images that vLLM has not hashed.
    """
    if request.prompt_token_ids is None:
        return None
    salt = f"{request.lora_request.lora_name if request.lora_request else ''}\0{request.cache_salt or ''}"
    if len(request.block_hashes) >= request.num_tokens // block_tokens:
        return Prefix(request.all_token_ids, request.block_hashes, block_tokens, request.num_tokens, salt)
    if request.mm_features or request.prompt_is_token_ids is not None:
        return None
    hashes = own_hashes(request.all_token_ids, salt)
    return Prefix(request.all_token_ids, hashes, OWN_BLOCK_TOKENS, request.num_tokens, salt)


def whole_prefix(request: Request, prompt: Prefix) -> Prefix:
    """Prompt and output of an ended request, hashed like its prompt."""
    hashes = prompt.hashes
    if hashes is not request.block_hashes:
        hashes = own_hashes(request.all_token_ids, prompt.salt, known=hashes)
    return Prefix(request.all_token_ids, hashes, prompt.block_tokens, request.num_tokens, prompt.salt)


def trace_headers(request: Request) -> Mapping[str, str]:
    """`traceparent` and `tracestate` of the caller, if it sent them."""
    return request.trace_headers or {}
