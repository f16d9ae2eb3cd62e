"""Why vLLM's scheduler skips a waiting request: no slot for its adapter, no compiled grammar."""

from .names import AsyncScheduler, Request, RequestStatus


def adapter_number(request: Request) -> int:
    """Number of the request's LoRA adapter, from 1; 0 without one."""
    return int(request.lora_request.lora_int_id) if request.lora_request else 0


def only_adapters(scheduler: AsyncScheduler) -> set[int] | None:
    """The adapters of the requests that run in the next step, if these take all slots; None if a slot is free."""
    if not scheduler.lora_config:
        return None
    step = scheduler.current_step + 1
    adapters = {
        adapter_number(request)
        for request in scheduler.running
        if getattr(request, "next_decode_eligible_step", 0) <= step  # vLLM 0.29 has no such field
    } - {0}
    return adapters if len(adapters) >= scheduler.lora_config.max_loras else None


def lacks_grammar(request: Request) -> bool:
    """Whether the request's grammar is not compiled. One that failed to compile is not lacking: vLLM ends its
    request."""
    if request.status != RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR:
        return False
    wanted = request.structured_output_request
    return wanted is None or wanted.grammar is None
