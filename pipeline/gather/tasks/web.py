"""Questions for which a data service is asked over HTTP."""

from random import Random

from ..plan import Draft, ToolUse
from ..tools.sql import CITIES
from .compose import Request, chain

ROLE = "You are an assistant with access to a data service for weather, reports and digests."
TOOLS = ("http_get", "python", "ask_user")

OPENINGS: tuple[Request, ...] = (
    ("Do I need an umbrella in {city}? {style}", ("yes_no", "sentence", "word")),
    ("What should I pack for a week in {city}? {style}", ("three_items", "long_list", "paragraph")),
    ("Tell me about {city}. {style}", ("sentence", "paragraph", "paragraphs", "three_items")),
    ("Which country is {city} in? {style}", ("word", "sentence")),
    ("Plan a day in {city}. {style}", ("steps", "long_list", "paragraph", "sentences")),
    ("What is a median? {style}", ("sentence", "paragraph", "code")),
    ("How does a digest protect a file? {style}", ("sentences", "steps", "paragraphs")),
)
MIDDLE: tuple[Request, ...] = (
    ("What does the service say? {style}", ("sentence", "word")),
    ("Is that a good sign? {style}", ("yes_no", "sentence")),
    ("Was the request a success? {style}", ("yes_no", "word")),
    ("What else should we ask the service? {style}", ("three_items", "sentence")),
)
CLOSINGS: tuple[Request, ...] = (
    ("Write me a message that I can send to a friend in {city}. {style}", ("sentences", "paragraph", "paragraphs")),
    ("What is the temperature? {style}", ("number",)),
    ("What do you advise? {style}", ("sentence", "three_items", "long_list")),
    ("Explain the answer of the service. {style}", ("paragraph", "steps", "sentences")),
)


def draft(random: Random) -> Draft:
    city = random.choice(CITIES)
    uses = [ToolUse("http_get", {"path": _path(random, city)}) for _ in range(random.choice((1, 2, 3, 4)))]
    return chain(
        random,
        system=ROLE,
        tools=TOOLS,
        uses=uses,
        opening=random.choice(OPENINGS),
        middle=MIDDLE,
        closing=CLOSINGS,
        city=city,
    )


def _path(random: Random, city: str) -> str:
    size = round(500 * 200 ** random.random())
    weather = f"/weather?city={city}"
    return random.choice((weather, weather, f"/digest?rounds={size}", f"/report?rows={size // 2}", "/news"))
