"""Conversations: after each turn a human replies, after a while."""

from random import Random

from ..plan import Draft, ToolUse
from .compose import Request, chain

ROLE = "You are a friendly companion in a long conversation."
TOOLS = ("ask_user",)

OPENINGS: tuple[Request, ...] = (
    ("Hello! I would like to talk about {topic}. {style}", ("sentence", "sentences", "paragraph")),
    ("Tell me a story about {topic}. {style}", ("paragraph", "paragraphs", "sentences")),
    ("Do you like {topic}? {style}", ("yes_no", "sentence")),
    ("What do you know about {topic}? {style}", ("three_items", "paragraph", "paragraphs", "long_list")),
    ("Give me one word that fits {topic}. {style}", ("word",)),
)
MIDDLE: tuple[Request, ...] = (
    ("Thank you. And why is that? {style}", ("sentence", "sentences", "paragraph")),
    ("I don't agree. Convince me. {style}", ("paragraph", "three_items", "sentences")),
    ("Really? {style}", ("yes_no", "sentence")),
    ("Tell me more about {topic}. {style}", ("paragraph", "paragraphs", "long_list")),
    ("My friend asks the same about {other}. {style}", ("sentence", "paragraph", "three_items")),
    ("What was my first question about? {style}", ("word", "sentence")),
    ("How would I learn about it? {style}", ("steps", "long_list", "three_items")),
)
CLOSINGS: tuple[Request, ...] = (
    ("Goodbye then! {style}", ("word", "sentence")),
    ("Sum up our conversation. {style}", ("sentence", "paragraph", "three_items")),
    ("Write a letter to me about {topic} and {other}. {style}", ("paragraphs", "paragraph")),
)
TOPICS = (
    *("gardens", "trains", "the sea", "cooking", "chess", "old houses", "music", "dogs", "winter", "bicycles", "bread"),
    *("maps", "stars", "tea", "forests", "clocks", "paintings", "languages", "bridges", "rivers", "birds", "markets"),
)


def draft(random: Random) -> Draft:
    topic, other = random.sample(TOPICS, 2)
    question = f"Anything else about {topic}?"
    uses = [ToolUse("ask_user", {"question": question})] * random.choice((2, 3, 4, 5))
    return chain(
        random,
        system=ROLE,
        tools=TOOLS,
        uses=uses,
        opening=random.choice(OPENINGS),
        middle=MIDDLE,
        closing=CLOSINGS,
        topic=topic,
        other=other,
    )
