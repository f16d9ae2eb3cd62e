"""KV offloading to host memory: vLLM's connector decides on transfers; their duration over PCIe replaces the copies.

The scheduler has vLLM's scheduler side of the connector, and this module calls vLLM's worker side in the order of
`KVConnectorModelRunnerMixin`. Copies do not slow the forward pass, because the GPU has copy engines.
"""

from collections import deque
from dataclasses import dataclass

from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_offload.base import GPULoadStoreSpec, LoadStoreSpec, OffloadingWorker, TransferResult
from vllm.v1.outputs import KVConnectorOutput

from .profile import KvTransfer, StepProfile


@dataclass(frozen=True, slots=True)
class Copy:
    job_id: int
    ends_s: float


class Direction:
    """Copies in one direction, one after the other, as vLLM chains their CUDA streams."""

    def __init__(self, block_s: float) -> None:
        self._block_s = block_s
        self._free_s = 0.0
        self.in_flight: deque[Copy] = deque()
        self.blocks = 0

    def submit(self, job_id: int, blocks: int, not_before_s: float) -> None:
        self.blocks += blocks
        self._free_s = max(self._free_s, not_before_s) + blocks * self._block_s
        self.in_flight.append(Copy(job_id, self._free_s))

    def finished(self, now_s: float) -> list[TransferResult]:
        done = []
        while self.in_flight and self.in_flight[0].ends_s <= now_s:
            done.append(TransferResult(self.in_flight.popleft().job_id, success=True))
        return done


class TimedCopies(OffloadingWorker):
    """vLLM's OffloadingWorker without copies: a job ends when its bytes have passed the link.

    A copy starts after the steps before it, because vLLM's copy stream waits for the compute stream.
    """

    def __init__(self, transfer: KvTransfer, block_tokens: int) -> None:
        block_s = block_tokens * transfer.token_s
        self.stores, self.loads = Direction(block_s), Direction(block_s)
        self.now_s = 0.0
        self.compute_free_s = 0.0

    @property
    def next_end_s(self) -> float | None:
        """End of the next copy; None if there is no copy in flight."""
        ends = [copies.in_flight[0].ends_s for copies in (self.stores, self.loads) if copies.in_flight]
        return min(ends, default=None)

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec) -> bool:  # noqa: ARG002
        self.stores.submit(job_id, len(src_spec.block_ids), self.compute_free_s)
        return True

    def submit_load(self, job_id: int, src_spec: LoadStoreSpec, dst_spec: GPULoadStoreSpec) -> bool:  # noqa: ARG002
        self.loads.submit(job_id, len(dst_spec.block_ids), self.compute_free_s)
        return True

    def get_finished(self) -> list[TransferResult]:
        return self.stores.finished(self.now_s) + self.loads.finished(self.now_s)

    def wait(self, job_ids: set[int]) -> None:
        """Advance to the end of the jobs; the next forward pass starts no earlier."""
        ends = [
            copy.ends_s for copies in (self.stores, self.loads) for copy in copies.in_flight if copy.job_id in job_ids
        ]
        self.now_s = max(self.now_s, *ends, self.now_s)
        self.compute_free_s = max(self.compute_free_s, self.now_s)


class Offloading:
    """The worker side of a scheduler with host memory for its KV cache."""

    def __init__(self, scheduler: AsyncScheduler, profile: StepProfile) -> None:
        assert profile.transfer is not None  # noqa: S101 - checked by the profile
        self.copies = TimedCopies(profile.transfer, scheduler.block_size)
        connector = KVConnectorFactory.create_connector(
            config=scheduler.vllm_config, role=KVConnectorRole.WORKER, kv_cache_config=scheduler.kv_cache_config
        )
        assert isinstance(connector, OffloadingConnector)  # noqa: S101 - build_scheduler configures no other
        assert connector.connector_worker is not None  # noqa: S101
        connector.connector_worker.worker = self.copies
        self._connector = connector

    def begin(
        self, scheduled: SchedulerOutput, now_s: float, engine_free_s: float, step_s: float
    ) -> tuple[float, KVConnectorOutput]:
        """The start of the forward pass of a step launched at `now_s`, and the report of the worker on copies.

        The pass starts after the previous one (`engine_free_s`), and later if it reuses blocks that are being stored.
        """
        copies, connector = self.copies, self._connector
        copies.now_s, copies.compute_free_s = now_s, engine_free_s
        connector.bind_connector_metadata(scheduled.kv_connector_metadata)  # type: ignore[arg-type]
        connector.handle_preemptions(scheduled.kv_connector_metadata)  # type: ignore[arg-type]
        starts_s = copies.compute_free_s
        copies.compute_free_s = starts_s + step_s
        connector.start_load_kv(None)  # type: ignore[arg-type] # the forward context is unused
        connector.wait_for_save()  # type: ignore[no-untyped-call]
        sent, received = connector.get_finished(scheduled.finished_req_ids)
        transfers = KVConnectorOutput(finished_sending=sent, finished_recving=received)
        transfers.kv_connector_worker_meta = connector.build_connector_worker_meta()
        connector.clear_connector_metadata()
        return starts_s, transfers

    @property
    def next_end_s(self) -> float | None:
        return self.copies.next_end_s
