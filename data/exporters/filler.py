"""Text in the place of recorded text, which traces do not hold."""

import random

# Short words that the usual tokenizers encode as one token, with the space before them.
_WORDS = """
time year people way day man thing woman life child world school state family group country hand part place case
week company system program question work number night point home water room mother area money story fact month
lot right study book eye job word business issue side kind head house service friend father power hour game line
end member law car city name team minute idea body back parent face level office door health person art war
party result change morning reason research girl guy moment air teacher force
"""


def filler(stream: str, tokens: int) -> str:
    """A text of about `tokens` tokens. The same stream and length give the same text, other streams another."""
    return " ".join(random.Random(stream).choices(_WORDS.split(), k=tokens))
