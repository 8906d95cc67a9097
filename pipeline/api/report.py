"""`edgestill report`: what a release or a verification found, read again."""

from __future__ import annotations

from edgestill.arguments import PathLike, as_path
from edgestill.release import MANIFEST, require_unchanged
from edgestill.report.model import REPORT, Report
from edgestill.report.model import read_report as read_file


def read_report(path: PathLike) -> Report:
    """The report of a release, or in the file that a verification wrote.

    Raises:
        UsageError: there is none, or it is of another format.
        DamagedRelease: it is not the report that the release was written with.
    """
    place = as_path(path, "path")
    if not place.is_dir():
        return read_file(place)
    if (place / MANIFEST).is_file():
        require_unchanged(place, REPORT)
    return read_file(place / REPORT)
