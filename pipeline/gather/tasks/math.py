"""Questions about numbers, worked out by Python programs that take from milliseconds to about a second."""

from random import Random

from ..plan import Draft, ToolUse
from .compose import Request, chain

ROLE = "You are a patient mathematics tutor who checks every figure with a program."
TOOLS = ("python",)

OPENINGS: tuple[Request, ...] = (
    ("What is {a} times {b}? {style}", ("number", "sentence")),
    ("Is {a} an even number? {style}", ("yes_no", "sentence")),
    ("Is {a} larger than {b}? {style}", ("yes_no", "word")),
    ("How would you find the prime numbers below {n}? {style}", ("steps", "paragraph", "code", "sentences")),
    ("What is a {subject}? {style}", ("sentence", "paragraph", "paragraphs", "sentences")),
    ("Where is a {subject} useful? {style}", ("three_items", "long_list", "sentence", "paragraph")),
    ("Tell me the history of the {subject}. {style}", ("paragraph", "paragraphs", "sentences")),
    ("How do I compute a {subject} of {a} numbers? {style}", ("steps", "code", "sentence")),
)
MIDDLE: tuple[Request, ...] = (
    ("That is what the program printed. Is it what you expected? {style}", ("yes_no", "sentence")),
    ("What does this figure tell us? {style}", ("sentence", "sentences")),
    ("What should we compute next? {style}", ("sentence", "three_items", "word")),
    ("Repeat the result. {style}", ("number", "sentence")),
)
CLOSINGS: tuple[Request, ...] = (
    ("Give me the final answer. {style}", ("number", "sentence")),
    ("Explain the result to a pupil. {style}", ("paragraph", "sentences", "steps")),
    ("Write up what we did and why, and what a {subject} has to do with it. {style}", ("paragraphs", "long_list")),
    ("Are we done? {style}", ("yes_no", "word")),
)
SUBJECTS = (
    *("prime number", "mean", "median", "logarithm", "square root", "fraction", "percentage", "derivative", "matrix"),
    *("factorial", "Fibonacci number", "perfect number", "standard deviation", "triangle", "circle", "polynomial"),
)
# Programs and the range of their size `n`; the sizes spread the running time.
PROGRAMS: tuple[tuple[str, int, int], ...] = (
    ("print({a} * {b})", 1, 2),
    ("print(sum(range({n})))", 1_000, 3_000_000),
    ("import math\nprint(math.factorial({n}) % 1000007)", 10, 8_000),
    ("from fractions import Fraction\nprint(sum(Fraction(1, k) for k in range(1, {n})))", 5, 900),
    ("import statistics\nprint(statistics.median((k * {a}) % 1009 for k in range({n})))", 100, 300_000),
    ("print(len([k for k in range(2, {n}) if all(k % d for d in range(2, int(k ** 0.5) + 1))]))", 100, 90_000),
    ("import random\nrandom.seed({a})\nprint(sum(random.random() < 0.5 for _ in range({n})))", 1_000, 1_500_000),
    ("import decimal\ndecimal.getcontext().prec = {n}\nprint(str(decimal.Decimal(2).sqrt())[-20:])", 20, 9_000),
)


def draft(random: Random) -> Draft:
    values = {"a": random.randint(11, 999), "b": random.randint(11, 999), "n": random.choice((50, 100, 1000))}
    uses = [_program(random) for _ in range(random.choice((1, 2, 3, 4, 5)))]
    return chain(
        random,
        system=ROLE,
        tools=TOOLS,
        uses=uses,
        opening=random.choice(OPENINGS),
        middle=MIDDLE,
        closing=CLOSINGS,
        subject=random.choice(SUBJECTS),
        **values,
    )


def _program(random: Random) -> ToolUse:
    text, low, high = random.choice(PROGRAMS)
    size = round(low * (high / low) ** random.random())
    return ToolUse("python", {"code": text.format(a=random.randint(2, 99), b=random.randint(2, 99), n=size)})
