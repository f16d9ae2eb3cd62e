"""Put the headline table of the last evaluation into the README: `python -m augserve.pipeline.readme`."""

from pathlib import Path

from ..data.atomic import write_text
from .report import HEADLINE
from .stage import StageError, run_stage

README = Path("README.md")
BEGIN = "<!-- headline: written by `python -m augserve.pipeline.readme` -->"
END = "<!-- /headline -->"


def inserted(readme: str, table: str) -> str:
    """The README with the table between its two markers. Raises StageError where they do not stand there, once each
    and in order."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise StageError(f"{README}: the markers {BEGIN} and {END} must stand in it once, in this order; restore them")
    return f"{before}{BEGIN}\n\n{table.strip()}\n\n{END}{after}"


def main() -> None:
    try:
        table, readme = HEADLINE.read_text(encoding="utf-8"), README.read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; run `dvc repro report` in the project's root") from error
    write_text(README, inserted(readme, table))


if __name__ == "__main__":
    run_stage(main)
