"""A report where GitHub Actions shows it: annotations, and the summary of a step.

GitHub cuts or drops what is beyond its limits without a word, so that nothing here goes beyond.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.report.annotation import Annotation
from edgestill.report.judgement import Judged, Judgement
from edgestill.report.markdown import render as render_markdown
from edgestill.report.model import Report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

# The runner keeps ten annotations of each level of a step. It refuses a summary beyond 1024 KiB.
MOST_ANNOTATIONS = 10
MOST_IN_SUMMARY = 1024 * 1024

_FOLDED = "\n\n</details>"
_CUT = "\n\n*The rest is left out: GitHub shows 1 MiB of a step. report.md has all of it.*\n"


def render(found: Judged) -> str:
    """The annotations as workflow commands, the worst first; empty where all is well."""
    return "".join(f"{annotation}\n" for annotation in annotated(found))


def annotated(found: Judged) -> list[Annotation]:
    """What failed as errors and what is open as warnings, as many of each as GitHub keeps."""
    errors = [Annotation("error", f"edgestill {found.name}", text) for text in found.failures]
    failed = [gate for gate in found.gates if gate.verdict is Verdict.FAIL]
    errors += [_of_gate("error", found, gate) for gate in failed]
    open_ = [g for g in found.gates if g.verdict is Verdict.INCONCLUSIVE or g.withheld]
    warnings = [_of_gate("warning", found, gate) for gate in open_]
    return [*_most(errors), *_most(warnings)]


def summary(found: Report | Judgement, room: int = MOST_IN_SUMMARY) -> str:
    """All of it as Markdown of at most `room` bytes, cut at the end of a line."""
    text = render_markdown(found)
    data = text.encode()
    if len(data) <= room:
        return text
    kept = data[: max(room - len((_FOLDED + _CUT).encode()), 0)]
    whole_lines = kept[: kept.rfind(b"\n") + 1].decode().rstrip("\n")
    if not whole_lines:
        return ""
    return whole_lines + (_FOLDED if "\n<details>\n" in whole_lines else "") + _CUT


def _of_gate(level: str, judged: Judged, gate: GateResult) -> Annotation:
    title = f"{gate.verdict} {judged.name}: {gate.gate} on {gate.target}"
    found = [gate.budget, gate.found, gate.advice]
    return Annotation(level, title, "\n".join(part for part in found if part))


def _most(found: Sequence[Annotation]) -> list[Annotation]:
    """As many as are kept, the last of which says how many are not."""
    if len(found) <= MOST_ANNOTATIONS:
        return list(found)
    kept, left = found[: MOST_ANNOTATIONS - 1], found[MOST_ANNOTATIONS - 1 :]
    names = "\n".join(annotation.title for annotation in left)
    return [*kept, Annotation(kept[0].level, f"{len(left)} more, see the step's summary", names)]
