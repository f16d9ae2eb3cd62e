"""Put the headline table of the last evaluation into the README: `python -m augserve.pipeline.readme`."""

from pathlib import Path

from ..data.atomic import write_text
from .project.stage import StageError, run_stage
from .report.run import HEADLINE

README = Path("README.md")
BEGIN = "<!-- headline: written by `python -m augserve.pipeline.readme` -->"
END = "<!-- /headline -->"


def inserted(document: str, text: str, path: Path = README, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The document with a text between its two marks. Raises StageError where they do not stand there, once each and
    in order."""
    before, begin, rest = document.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end) or marks[0] in rest or marks[1] in before + after:
        raise StageError(
            f"{path}: the markers {' and '.join(marks)} must stand in it once, in this order; restore them"
        )
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


def main() -> None:
    try:
        table, readme = HEADLINE.read_text(encoding="utf-8"), README.read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; run `dvc repro report` in the project's root") from error
    write_text(README, inserted(readme, table))


if __name__ == "__main__":
    run_stage(main)
