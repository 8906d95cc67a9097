"""The losses of a distillation: `[{kd: {weight: 0.9}}, ce]`."""

from __future__ import annotations

from typing import Any

from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import Reader
from edgestill.recipe.tasks import LOSS_TASKS
from edgestill.spelling import did_you_mean, nearest
from edgestill.train.losses.config import LOSS_CONFIGS, LossConfig, MseLoss, reads_of
from edgestill.train.schedule import extremes
from edgestill.train.voices import role_of

_KNOWN = tuple(LOSS_CONFIGS)


def read_losses(reader: Reader, value: Any, path: Path) -> list[tuple[Path, LossConfig]]:
    """Each loss with its place; the settings of a bare name are its defaults."""
    if not isinstance(value, list):
        what = f"found {show_value(value)} where a list is expected"
        reader.problems.add(path, what, "Write [{ce: {weight: 0.1}}, {kd: {weight: 0.9}}].")
        return []
    losses = []
    for index, entry in enumerate(value):
        place: Path = (*path, index)
        named = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(named, dict) or len(named) != 1:
            what = f"found {show_value(entry)} where one loss with its settings is expected"
            fix = f"Write - kd: {{weight: 0.9}}. Known losses: {', '.join(_KNOWN)}."
            reader.problems.add(place, what, fix)
            continue
        ((name, settings),) = named.items()
        if name not in LOSS_CONFIGS:
            what = f"{show_value(name)} is not a known loss"
            reader.problems.add(place, what, did_you_mean(name, _KNOWN, "Known losses"))
            continue
        kind: type[Any] = LOSS_CONFIGS[name]
        loss = reader.config(kind, {} if settings is None else settings, (*place, name))
        if loss is not None:
            losses.append(((*place, name), loss))
    return losses


def check_losses(draft: Draft) -> None:
    """Losses that cannot train this task, or nothing at all."""
    task, problems = draft.recipe.task, draft.problems
    fitting = [name for name, tasks in LOSS_TASKS.items() if task in tasks]
    for path, loss in draft.losses:
        name = str(path[-1])
        if name not in fitting:
            fix = f"Losses of {task}: {', '.join(fitting)}."
            problems.add(path, f"{name} does not fit {task}", fix)
        elif isinstance(loss, MseLoss) and loss.to == "labels" and "ce" in fitting:
            what = f"labels of {task} are no values to be near to"
            problems.add((*path, "to"), what, "Use ce for labels, or mse to: teacher.")
    written = ("distill", "losses")
    if draft.raw(*written) == []:
        problems.add(written, "an empty list", "Leave it out for the usual losses of the task.")
    elif (
        draft.losses
        and not problems.within(written)
        and all(extremes(loss.weight)[1] == 0 for _, loss in draft.losses)
    ):
        problems.add(written, "every weight is 0, so nothing is learnt", "Raise one of them.")
    _check_layers(draft)
    _check_cache(draft)


def _check_layers(draft: Draft) -> None:
    """Losses that read layers of a teacher which has none, or is not there."""
    teachers, names = draft.recipe.all_teachers, draft.teachers
    for path, loss in draft.losses:
        for name in dict.fromkeys(tap.teacher for tap in reads_of(loss).teacher):
            teacher = teachers.get(name)
            if name not in names:
                what = f"there is no teacher {name!r}"
                draft.problems.add((*path, "teacher"), what, nearest(name, names, "Teachers"))
            elif teacher is not None and teacher.black_box:
                what = f"{path[-1]} reads a layer of the {role_of(name)}, and "
                what += f"{teacher.black_box} has none to read"
                draft.problems.add(
                    path,
                    what,
                    "Use kd, dkd, dist or mse, or relation and adversarial "
                    "without layers, or give the teacher as model:.",
                )


def _check_cache(draft: Draft) -> None:
    """Views and tasks that a cache cannot be used with."""
    distill, problems = draft.recipe.distill, draft.problems
    cache = distill.cache if distill else None
    if distill is None or cache is None:
        return
    if cache.views > 1 and distill.augment is None:
        what = f"{cache.views} views of each sample, and without augment they are all the same"
        problems.add(("distill", "cache", "views"), what, "Add distill.augment, or remove views.")
    if cache.top_k is not None and draft.recipe.task != "classification":
        what = f"the predictions of {draft.recipe.task} have no largest classes to keep"
        problems.add(("distill", "cache", "top_k"), what, "Remove top_k.")
