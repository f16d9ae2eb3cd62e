"""The engines of the GPU profiles: facts of GPUs and models, and vLLM's default limits on them."""

from dataclasses import dataclass

from ..simulator.profile import BLOCK_TOKENS, EngineLimits

GIB = 1 << 30
BFLOAT16 = 2  # bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as vLLM 0.32's API server starts on it (`EngineArgs.get_batch_defaults`). Memory in bytes."""

    system: str  # aiconfigurator's name
    memory: int  # as CUDA reports it
    reserve: int  # activations of Llama-3.1-8B at the largest batch, CUDA graphs, CUDA itself
    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class Model:
    """A dense decoder in bfloat16 with untied embeddings, with the values of its config.json."""

    path: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    max_model_len: int
    head_size: int = 128
    head_norms: bool = False  # Qwen3 normalises queries and keys

    @property
    def weight_bytes(self) -> int:
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        norms = 2 * self.hidden + (2 * self.head_size if self.head_norms else 0)
        layer = attention + 3 * self.hidden * self.intermediate + norms
        return BFLOAT16 * (2 * self.vocabulary * self.hidden + self.layers * layer + self.hidden)

    @property
    def kv_token_bytes(self) -> int:
        return self.layers * self.kv_heads * self.head_size * 2 * BFLOAT16

    def activation_bytes(self, gpu: Gpu, tensor_parallel: int) -> int:
        """Peak of a full batch on one GPU: two hidden states and three MLP states per token, and the float32 logits."""
        token = 2 * self.hidden + 3 * self.intermediate // tensor_parallel
        logits = 4 * gpu.max_num_seqs * self.vocabulary * 2  # the logits and one copy for sampling
        return BFLOAT16 * token * gpu.max_num_batched_tokens + logits


@dataclass(frozen=True, slots=True)
class Engine:
    model: Model
    gpu: Gpu
    tensor_parallel: int = 1

    @property
    def title(self) -> str:
        return f"{self.model.path} on {self.tensor_parallel} x {self.gpu.system}"

    def limits(self, gpu_memory_utilization: float) -> EngineLimits:
        """Limits by vLLM's rule: each GPU's share of memory, less weights and reserve, is the KV cache.

        The reserve is an estimate to a GiB: the GPU's, plus the activations beyond those of Llama-3.1-8B, plus 1 GiB
        for collectives between GPUs. A model length beyond the cache is cut to the cache, as by `--max-model-len auto`.
        """
        gpu, parallel = self.gpu, self.tensor_parallel
        reserve = gpu.reserve + self.model.activation_bytes(gpu, parallel) - LLAMA_8B.activation_bytes(gpu, 1)
        if parallel > 1:
            reserve += GIB
        kv_bytes = gpu.memory * gpu_memory_utilization - self.model.weight_bytes / parallel - reserve
        kv_tokens = max(0, int(kv_bytes // (self.model.kv_token_bytes / parallel)))
        longest = min(self.model.max_model_len, kv_tokens // BLOCK_TOKENS * BLOCK_TOKENS)
        return EngineLimits(kv_tokens, longest, gpu.max_num_seqs, gpu.max_num_batched_tokens)


H100 = Gpu("h100_sxm", round(79.2 * GIB), round(2.3 * GIB), 8192, 1024)
A100 = Gpu("a100_sxm", round(79.2 * GIB), round(1.7 * GIB), 2048, 256)
LLAMA_8B = Model("meta-llama/Meta-Llama-3.1-8B", 32, 4096, 14336, 32, 8, 128256, 131072)
LLAMA_70B = Model("meta-llama/Meta-Llama-3.1-70B", 80, 8192, 28672, 64, 8, 128256, 131072)
QWEN3_32B = Model("Qwen/Qwen3-32B", 64, 5120, 25600, 64, 8, 151936, 40960, head_norms=True)

ENGINES = {
    "llama-3.1-8b-h100": Engine(LLAMA_8B, H100),
    "llama-3.1-8b-a100": Engine(LLAMA_8B, A100),
    "qwen3-32b-h100": Engine(QWEN3_32B, H100),
    "llama-3.1-70b-4xh100": Engine(LLAMA_70B, H100, tensor_parallel=4),
}
CPU = "cpu"
"""The profile of this machine's processor."""
BUILT_IN = (*ENGINES, CPU)
"""Names of the profiles that are no deployment's own."""
