"""Work with pictures and with speech: descriptions and texts, made real by slow tools."""

from random import Random

from ..plan import Draft, ToolUse
from .compose import Request, chain

IMAGE_ROLE = "You are an illustrator who describes pictures and has them painted."
IMAGE_TOOLS = ("generate_image", "ask_user")
SPEECH_ROLE = "You are a narrator who writes texts and reads them aloud."
SPEECH_TOOLS = ("speak", "ask_user", "http_get")

IMAGE_OPENINGS: tuple[Request, ...] = (
    ("Describe a picture of {subject} {place}. {style}", ("sentence", "paragraph", "sentences", "paragraphs")),
    ("What colour should {subject} have? {style}", ("word", "sentence")),
    ("Which details belong in a picture of {subject}? {style}", ("three_items", "long_list", "sentences")),
)
IMAGE_MIDDLE: tuple[Request, ...] = (
    ("The picture is there. Describe the next one, of {subject} at night. {style}", ("sentence", "paragraph")),
    ("Is it good enough? {style}", ("yes_no", "sentence")),
    ("What shall we change? {style}", ("three_items", "sentence", "word")),
    ("Give the picture a title. {style}", ("word", "sentence")),
)
IMAGE_CLOSINGS: tuple[Request, ...] = (
    ("Write a caption for the picture. {style}", ("sentence", "sentences")),
    ("Write the text of the exhibition about {subject}. {style}", ("paragraph", "paragraphs", "long_list")),
    ("Are you content? {style}", ("yes_no", "word")),
)
SPEECH_OPENINGS: tuple[Request, ...] = (
    ("Write a fairy tale about {subject} {place} to be read aloud. {style}", ("paragraph", "paragraphs", "sentences")),
    ("Write a greeting for {subject}. {style}", ("sentence", "sentences")),
    ("Write an announcement about {subject} {place}. {style}", ("sentence", "sentences", "paragraph")),
    ("Should a text about {subject} be read slowly? {style}", ("yes_no", "sentence")),
)
SPEECH_MIDDLE: tuple[Request, ...] = (
    ("That was read aloud. Write the next part. {style}", ("sentence", "sentences", "paragraph")),
    ("Was it too long? {style}", ("yes_no", "word")),
    ("Name the mood of the text. {style}", ("word", "sentence")),
    ("How should the voice change? {style}", ("three_items", "sentence")),
)
SPEECH_CLOSINGS: tuple[Request, ...] = (
    ("Write the end of the tale. {style}", ("sentences", "paragraph", "paragraphs")),
    ("Say goodbye to the listeners. {style}", ("sentence", "word")),
    ("List what we have read. {style}", ("three_items", "long_list")),
)
SUBJECTS = (
    *("a fox", "an old sailor", "two robots", "a lighthouse", "a young queen", "a red balloon", "a sleepy bear"),
    *("a clockmaker", "a lost key", "twin sisters", "a paper boat", "a wise owl", "a night train", "a baker"),
)
PLACES = ("in the rain", "on a mountain", "by the sea", "in a big city", "in a library", "under the moon", "on a train")
VOICES = ("anna", "boris", "clara", "david")


def image_draft(random: Random) -> Draft:
    subject, place = random.choice(SUBJECTS), random.choice(PLACES)
    uses = [
        ToolUse("generate_image", {"prompt": f"{subject} {place}", "size": random.choice((256, 512, 1024))})
        for _ in range(random.choice((1, 2, 3, 4, 6)))
    ]
    return chain(
        random,
        system=IMAGE_ROLE,
        tools=IMAGE_TOOLS,
        uses=uses,
        opening=random.choice(IMAGE_OPENINGS),
        middle=IMAGE_MIDDLE,
        closing=IMAGE_CLOSINGS,
        subject=subject,
        place=place,
    )


def speech_draft(random: Random) -> Draft:
    subject, place = random.choice(SUBJECTS), random.choice(PLACES)
    uses = [
        ToolUse("speak", {"text": f"A tale of {subject}. " * random.randint(1, 9), "voice": random.choice(VOICES)})
        for _ in range(random.choice((1, 2, 3, 4, 6)))
    ]
    return chain(
        random,
        system=SPEECH_ROLE,
        tools=SPEECH_TOOLS,
        uses=uses,
        opening=random.choice(SPEECH_OPENINGS),
        middle=SPEECH_MIDDLE,
        closing=SPEECH_CLOSINGS,
        subject=subject,
        place=place,
    )
