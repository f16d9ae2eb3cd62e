"""Errors of other libraries on one line, for the messages of ours."""


def one_line(error: BaseException, most_characters: int | None = None) -> str:
    """What an error says, cut where it may be long; the name of its class where it says nothing."""
    return " ".join(str(error).split())[:most_characters] or type(error).__name__
