"""Whom a model learns from: a teacher, the model before it, its own average, or peers."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.distill.config import SchemeConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.models import check_classes
from edgestill.recipe.problems import Path
from edgestill.train.losses.config import Reads, reads_of


def check_learning(draft: Draft) -> None:
    """Models that nobody teaches anything, and ways to learn that exclude each other."""
    for place, scheme in draft.schemes:
        if scheme.learn_from != "teacher":
            _check_alone(draft, place, scheme)
        _check_losses(draft, place, scheme)
        _check_peers(draft, place, scheme)


def _check_alone(draft: Draft, place: Path, scheme: SchemeConfig) -> None:
    """Chains of models around one that learns from none of them."""
    add, source = draft.problems.add, scheme.learn_from
    if draft.assistants:
        what = f"with assistants each model learns from the one before it, not from its {source}"
        add((*place, "learn_from"), what, "Leave learn_from out, or assistants.")
    if scheme.generations > 1:
        what = f"a generation learns from the one before it, not from its {source}"
        add((*place, "generations"), what, f"Leave generations out, or learn_from: {source}.")
    if source == "peers" and scheme.stages:
        what = "peers would begin anew in every stage, beside a student that has learnt"
        add((*place, "stages"), what, "Leave stages out, or learn from a teacher or the average.")
    if source == "average" and scheme.ema is None and not draft.problems.within((*place, "ema")):
        what = "there is no average of the student's weights"
        add((*place, "learn_from"), what, "Add ema: 0.999, the average's decay.")


def _check_losses(draft: Draft, place: Path, scheme: SchemeConfig) -> None:
    """Losses by which nothing is learnt from whom there is to learn from."""
    problems, source = draft.problems, scheme.learn_from
    parts = [(written, _reads(draft, written)) for written in _written(place, scheme)]
    last, final = parts[-1]
    # Without losses of its own a training has the usual ones, which read labels and a teacher.
    asks = any(
        not reads or any(loss.prediction or loss.teacher for loss in reads) for _, reads in parts
    )
    known = all(reads or not problems.within(written) for written, reads in parts)
    taught = source == "teacher" and bool(draft.given("teacher") or draft.raw("teachers"))
    if asks and known and source == "teacher" and not taught and place == ("distill",):
        fix = (
            "Add teacher:, or learn_from: average or peers, or train the student alone with "
            "student: {train: {}}."
        )
        problems.add(place, "there is no teacher to learn from", fix)
    if not taught:
        _check_labels(draft, last, final)
        _check_cache(draft, place, scheme)
    if asks or not known:
        return
    if source != "teacher":
        what = f"no loss learns from the {source}"
        problems.add(last, what, f"Add kd or mse, or leave learn_from: {source} out.")
    elif draft.assistants and place != ("assistants", 0, "distill"):
        what = "no loss learns from the model before it"
        problems.add(last, what, "Add kd or mse, or leave assistants out.")
    elif scheme.generations > 1:
        what = "no loss learns from the generation before"
        problems.add(last, what, "Add kd or mse, or leave generations out.")


def _written(place: Path, scheme: SchemeConfig) -> list[Path]:
    """Where the losses of each training are written."""
    whole = (*place, "losses")
    own = [stage.losses is not None for stage in scheme.stages] or [False]
    return [(*place, "stages", index, "losses") if has else whole for index, has in enumerate(own)]


def _reads(draft: Draft, written: Path) -> list[Reads]:
    return [reads_of(loss) for _, loss in draft.losses_in(written)]


def _check_labels(draft: Draft, written: Path, reads: Sequence[Reads]) -> None:
    """Losses by which the student's prediction never meets a label."""
    if reads and not any(loss.labels and not loss.prediction for loss in reads):
        classes = draft.recipe.task in ("classification", "multilabel")
        draft.problems.add(
            written,
            "no loss brings the student's prediction to the labels, and there is no teacher that "
            "knows more than the student",
            "Add ce." if classes else "Add mse: {to: labels}.",
        )


def _check_cache(draft: Draft, place: Path, scheme: SchemeConfig) -> None:
    if scheme.cache is not None:
        what = {
            "teacher": "there is no teacher whose answers could be kept",
            "average": "the student's average changes with every step: its answers cannot be kept",
            "peers": "peers change with every step: their answers cannot be kept",
        }[scheme.learn_from]
        draft.problems.add((*place, "cache"), what, "Remove cache.")


def _check_peers(draft: Draft, place: Path, scheme: SchemeConfig) -> None:
    problems, written = draft.problems, (*place, "peers")
    if scheme.learn_from != "peers":
        if draft.raw(*written) is not None:
            what = f"nobody learns from them: learn_from is {scheme.learn_from}"
            problems.add(written, what, "Add learn_from: peers, or remove peers.")
        return
    if not scheme.peers and not problems.within(written):
        problems.add(written, "missing", "Add peers: [{model: file.py:callable}].")
    for index, peer in enumerate(scheme.peers):
        check_classes(draft, (*written, index), peer.as_model)
    for path, loss in draft.losses_in(place):
        if reads_of(loss).teacher:
            what = f"{path[-1]} reads a layer of a teacher, and peers are asked for predictions"
            problems.add(
                path,
                what,
                "Use kd, dkd, dist or mse, or relation and adversarial without layers, or learn "
                "from a teacher or the average.",
            )
