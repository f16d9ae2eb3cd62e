"""Errors of other libraries on one line, for the messages of ours."""

MOST_CHARACTERS = 200


def one_line(error: BaseException) -> str:
    """What an error says, cut short; the name of its class where it says nothing."""
    return " ".join(str(error).split())[:MOST_CHARACTERS] or type(error).__name__
