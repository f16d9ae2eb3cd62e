"""What the papers report of the policies compared, and what differs here."""

CLAIMS = {
    "AugServe": "4.7× (arXiv v2) and 6.5× (ICML poster) vLLM's effective throughput, 3.3× and 4.7× InferCept's; TTFT "
    "up to −96.3 % and −95.0 %, normalized latency −80.3 % and −62.7 % (against vLLM, InferCept).",
    "MARS/LAMPS": "end-to-end latency −27 … −85 %, TTFT −4 … −96 % against InferCept.",
    "Continuum": "1.1–3.7×.",
}
"""On their own hardware, engines and workloads."""
DIFFERENCES = {
    "Hardware": "The papers measured real GPUs. Here vLLM's own scheduler, KV-cache manager and prefix cache run "
    "under a virtual clock, and each step takes the time that NVIDIA's measured kernels give for the "
    "engine named.",
    "vLLM": "InferCept and MARS are forks of an old vLLM. Here every policy is rebuilt on the scheduler of vLLM "
    "0.32, with chunked prefill, prefix caching and asynchronous scheduling; the stock vLLM that is "
    "beaten has them too.",
    "Workload": "The mix of six augmentations is drawn from InferCept's published figures, not its request file; "
    "sessions arrive as a Poisson process, at multiples of what stock vLLM bears. The papers' models and "
    "rates differ.",
    "Measure": "A turn is in time with TTFT ≤ 1 s and TPOT ≤ 0.1 s; late, unfinished and rejected ones are misses. A "
    "ratio to stock vLLM depends on the load: beyond its capacity stock vLLM's own figure falls to nearly "
    "nothing, so that capacity@90 and the ratio to uncached-first say more.",
    "AugServe": "The paper predicts with BERT and swaps contexts. Here quantile trees predict, learned from a "
    "deployment's traces; contexts are kept or left to eviction, and moving them is left to vLLM's "
    "offloading connector.",
}
