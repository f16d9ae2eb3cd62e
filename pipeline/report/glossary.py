"""What the page's words and the policies' names stand for, for a reader who knows nothing of the project."""

from ..results.budgets import P_PAS_BUDGET, STATIC_BUDGET
from ..results.metrics_file import OURS, UNTUNED

INTRODUCTION = (
    "AugServe is a scheduler for vLLM that learns, for agents: language-model requests that call tools, pause for them "
    "and come back. This page holds what it gains and what it does not, against stock vLLM and against what others "
    "have published. All of it but the section on the real server is simulated: vLLM's own scheduler, its steps "
    "taking as long as NVIDIA's measured kernels do."
)
WORDS = {
    "session, turn": "A session is one run of an agent; a turn is one call of the model in it. Between two turns a "
    "tool runs, and the session's context waits in the KV cache or is evicted from it.",
    "in time": "A turn whose first token comes within 1 s (TTFT) and whose further ones take 0.1 s each at most in the "
    "mean (TPOT); a session all of whose turns are. Late, unfinished and rejected ones are misses.",
    "load": "In multiples of what stock vLLM bears: 1× is its capacity, the highest rate of sessions at which 90 % "
    "of its turns are in time.",
    "stock vLLM's 0.0": "It serves first come first served. Beyond its capacity the queue only grows, and soon every "
    "turn waits longer than 1 s for its first token, though most are answered in the end.",
    "[–]": "The interval that holds the value with 95 % confidence, by a bootstrap over sessions; ratios are of runs "
    "of the same sessions.",
    "–": "Not run there, or a ratio to something that serves nothing in time.",
    "longest wait": "Of any turn for its first token. Waits still open as a run ends are cut off there.",
}
POLICIES = {
    "vllm": "stock vLLM: first come first served",
    "vllm-tuned": "stock vLLM with its best static token budget and limit on running requests",
    "sjf-prompt": "shortest prompt first",
    "sjf": "shortest job first, by the prompt and the predicted output",
    "uncached-first": "the best rule without learning: who can still be in time first, then fewest tokens to compute",
    "p-pas": "P-PAS: stock vLLM with fewer tokens a step while several prompts meet running outputs",
    "infercept": "InferCept: keeps or drops a paused context by what wastes least memory",
    "mars": "MARS/LAMPS: least memory over time first, the tool call's included",
    "continuum": "Continuum: keeps contexts for a time that pays by past tool calls",
    "continuum-forecast": "Continuum by the call's predicted duration, which is not the paper's",
    OURS: "AugServe, as it is deployed, with tuned settings",
    UNTUNED: "AugServe with settings set by hand, before tuning",
    "augserve-oracle": "AugServe, knowing what comes: what is left to gain by better predictions",
    "augserve-no-stage-one": "AugServe without a turn's expected cost at its arrival",
    "augserve-no-stage-two": "AugServe without what is known meanwhile, and without deadlines",
    STATIC_BUDGET: "AugServe with the same token budget in every step, the best of a few",
    P_PAS_BUDGET: "AugServe with P-PAS's rule for the token budget",
    "augserve-no-context": "AugServe that keeps no paused context",
    "augserve-no-predictors": "AugServe without predictions",
}
PREDICTED = {
    "output_length": "output of a turn, tokens",
    "session_remaining": "turns still to come, this one counted",
    "session_remaining_tokens": "tokens of the turns still to come",
    "tool_duration": "duration of a tool call, s",
}
"""By the names of the models' targets."""
