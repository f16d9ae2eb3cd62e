"""Forms of answer, from one word to several paragraphs, each in several wordings: what makes length learnable."""

from random import Random
from typing import Final

STYLES: Final[dict[str, tuple[str, ...]]] = {
    "word": (
        "Answer with one word only.",
        "Reply with a single word.",
        "One word, please, and nothing else.",
    ),
    "yes_no": (
        "Answer yes or no.",
        "Just say yes or no.",
        "Is that a yes or a no? One word.",
    ),
    "number": (
        "Answer with the number only.",
        "Give me just the number.",
        "Reply with the figure and nothing else.",
    ),
    "sentence": (
        "Answer in one short sentence.",
        "Say it in a single sentence.",
        "One sentence is enough.",
    ),
    "sentences": (
        "Answer in two or three sentences.",
        "Keep it to three short sentences.",
        "Two sentences will do.",
    ),
    "three_items": (
        "Answer with a list of three short items.",
        "Give three bullet points, a few words each.",
        "Name three things, one a line.",
    ),
    "long_list": (
        "Answer with a numbered list of eight items and explain each one.",
        "Make a list of ten points with a sentence for each.",
        "List as many points as you can, each with a reason.",
    ),
    "paragraph": (
        "Answer in one paragraph.",
        "Write one paragraph about it.",
        "Explain it in a paragraph.",
    ),
    "steps": (
        "Explain it step by step.",
        "Walk me through it, step by step.",
        "Write the steps as a numbered list.",
    ),
    "paragraphs": (
        "Write a detailed explanation in three paragraphs.",
        "Explain it at length, with background and examples.",
        "Write a report of several paragraphs about it.",
    ),
    "code": (
        "Show it as a short Python function.",
        "Write a Python snippet for it.",
        "Answer with Python code only.",
    ),
}


def wording(random: Random, style: str) -> str:
    return random.choice(STYLES[style])
