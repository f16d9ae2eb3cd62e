"""Counts the tokens of a text, exactly with a model's tokenizer.json, or as an estimate."""

from pathlib import Path

from ..one_line import one_line

BYTES_PER_TOKEN = 4  # of UTF-8; the usual rule for English text and code


class TokenCounterError(ValueError):
    """A tokenizer file is unusable; the message names the file, the cause and the remedy."""


class EstimatedTokens:
    """One token for every BYTES_PER_TOKEN bytes, rounded up; no ids."""

    exact = False

    def __init__(self) -> None:
        self.counted_texts = 0

    def count(self, text: str) -> int:
        self.counted_texts += 1
        return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)

    def ids(self, text: str) -> list[int]:  # noqa: ARG002  the counter's protocol
        return []


class ExactTokens:
    """Counts and ids of a `tokenizer.json`, without special tokens. Raises TokenCounterError for an unusable file."""

    exact = True

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        if not path.is_file():
            raise TokenCounterError(f"{path}: no such file; name a model's tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no narrower class
            raise TokenCounterError(
                f"{path}: no usable tokenizer: {one_line(error)}; name a model's tokenizer.json"
            ) from error
        self.counted_texts = 0

    def count(self, text: str) -> int:
        return len(self.ids(text))

    def ids(self, text: str) -> list[int]:
        self.counted_texts += 1
        ids: list[int] = self._tokenizer.encode(_encodable(text), add_special_tokens=False).ids
        return ids


def _encodable(text: str) -> str:
    """The text with question marks for lone surrogates, which JSON allows and UTF-8 does not."""
    return text.encode("utf-8", "replace").decode("utf-8")
