"""An annotation of GitHub Actions as the line of a log that makes it."""

from __future__ import annotations

from dataclasses import dataclass

# The runner cuts messages without a word; the checks that they become take titles of 255.
MOST_IN_MESSAGE = 4096
MOST_IN_TITLE = 255


@dataclass(frozen=True)
class Annotation:
    """A remark on the page of a workflow's run.

    Attributes:
        level: error or warning.
    """

    level: str
    title: str
    message: str

    def __str__(self) -> str:
        """The workflow command, in which percent signs, line ends and separators are escaped."""
        title = _data(_cut(self.title, MOST_IN_TITLE)).replace(":", "%3A").replace(",", "%2C")
        return f"::{self.level} title={title}::{_data(_cut(self.message, MOST_IN_MESSAGE))}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _data(text: str) -> str:
    """Text as the data of a workflow command; the percent sign first, since it escapes."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
