"""Whom a student learns from: a teacher, its own average, or peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgestill.distill.config import DistillConfig, PeerConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.models import check_classes
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import Reader
from edgestill.train.losses.config import Reads, reads_of


def read_peers(reader: Reader, value: Any, path: Path) -> tuple[PeerConfig, ...]:
    """Each model of the list."""
    if not isinstance(value, list):
        what = f"found {show_value(value)} where a list is expected"
        reader.problems.add(path, what, "Write [{model: file.py:callable}].")
        return ()
    read = [reader.config(PeerConfig, entry, (*path, index)) for index, entry in enumerate(value)]
    return tuple(peer for peer in read if peer is not None)


def check_learning(draft: Draft) -> None:
    """A student that nobody teaches anything."""
    distill, problems = draft.recipe.distill, draft.problems
    if distill is None:
        return
    written = ("distill", "losses")
    # Without losses of its own it has the usual ones, which read labels and a teacher.
    reads = [reads_of(loss) for _, loss in draft.losses]
    known = bool(reads) or not problems.within(written)
    source = distill.learn_from
    asks = not reads or any(loss.prediction or loss.teacher for loss in reads)
    if source == "teacher" and known and asks and not draft.given("teacher"):
        fix = (
            "Add teacher:, or learn_from: average or peers, or train the student alone with "
            "student: {train: {}}."
        )
        problems.add(("distill",), "there is no teacher to learn from", fix)
    if source != "teacher" or not draft.given("teacher"):
        _check_labels(draft, reads)
        _check_cache(draft, distill)
    if source != "teacher" and known and not asks:
        what = f"no loss learns from the {source}"
        problems.add(written, what, f"Add kd or mse, or leave learn_from: {source} out.")
    if source == "average" and distill.ema is None and not problems.within(("distill", "ema")):
        what = "there is no average of the student's weights"
        problems.add(("distill", "learn_from"), what, "Add ema: 0.999, the average's decay.")
    _check_peers(draft, distill)


def _check_labels(draft: Draft, reads: Sequence[Reads]) -> None:
    """Losses by which the student's prediction never meets a label."""
    if reads and not any(loss.labels and not loss.prediction for loss in reads):
        classes = draft.recipe.task in ("classification", "multilabel")
        draft.problems.add(
            ("distill", "losses"),
            "no loss brings the student's prediction to the labels, and there is no teacher that "
            "knows more than the student",
            "Add ce." if classes else "Add mse: {to: labels}.",
        )


def _check_cache(draft: Draft, distill: DistillConfig) -> None:
    if distill.cache is not None:
        what = {
            "teacher": "there is no teacher whose answers could be kept",
            "average": "the student's average changes with every step: its answers cannot be kept",
            "peers": "peers change with every step: their answers cannot be kept",
        }[distill.learn_from]
        draft.problems.add(("distill", "cache"), what, "Remove cache.")


def _check_peers(draft: Draft, distill: DistillConfig) -> None:
    problems, place = draft.problems, ("distill", "peers")
    if distill.learn_from != "peers":
        if draft.raw(*place) is not None:
            what = f"nobody learns from them: learn_from is {distill.learn_from}"
            problems.add(place, what, "Add learn_from: peers, or remove peers.")
        return
    if not distill.peers and not problems.within(place):
        problems.add(place, "missing", "Add peers: [{model: file.py:callable}].")
    for index, peer in enumerate(distill.peers):
        check_classes(draft, (*place, index), peer.as_model)
    for path, loss in draft.losses:
        if reads_of(loss).teacher:
            what = f"{path[-1]} reads a layer of a teacher, and peers are asked for predictions"
            problems.add(
                path,
                what,
                "Use kd, dkd, dist or mse, or relation and adversarial without layers, or learn "
                "from a teacher or the average.",
            )
