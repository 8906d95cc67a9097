"""The losses of a distillation: `[{kd: {weight: 0.9}}, ce]`."""

from __future__ import annotations

from typing import Any

from edgestill.distill.config import DistillConfig, SchemeConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import Reader
from edgestill.recipe.tasks import LOSS_TASKS
from edgestill.spelling import did_you_mean, nearest
from edgestill.train.losses.config import LOSS_CONFIGS, LossConfig, MseLoss, reads_of
from edgestill.train.schedule import extremes
from edgestill.train.voices import TEACHER, role_of

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
    for place, scheme in draft.schemes:
        _check_sum(draft, (*place, "losses"))
        stages = draft.raw(*place, "stages")
        for index in range(len(stages) if isinstance(stages, list) else 0):
            _check_sum(draft, (*place, "stages", index, "losses"))
        _check_cache(draft, place, scheme)
    _check_layers(draft)


def _check_sum(draft: Draft, written: Path) -> None:
    """Losses that add up to nothing."""
    losses = [loss for _, loss in draft.losses_in(written)]
    if draft.raw(*written) == []:
        fix = "Leave it out for the usual losses of the task."
        draft.problems.add(written, "an empty list", fix)
    elif (
        losses
        and not draft.problems.within(written)
        and all(extremes(loss.weight)[1] == 0 for loss in losses)
    ):
        what = "every weight is 0, so nothing is learnt"
        draft.problems.add(written, what, "Raise one of them.")


def _check_layers(draft: Draft) -> None:
    """Losses that read layers of a teacher which has none, or is not there."""
    for place, scheme in draft.schemes:
        for path, loss in draft.losses_in(place):
            for name in dict.fromkeys(tap.teacher for tap in reads_of(loss).teacher):
                _check_layer(draft, place, scheme, path, name)


def _check_layer(draft: Draft, place: Path, scheme: SchemeConfig, path: Path, name: str) -> None:
    """A loss of the distillation at `place` that reads a layer of this teacher."""
    problems, names = draft.problems, draft.teachers
    if name not in names:
        what = f"there is no teacher {name!r}"
        problems.add((*path, "teacher"), what, nearest(name, names, "Teachers"))
        return
    if scheme.learn_from != "teacher":
        return
    teacher = draft.recipe.all_teachers.get(name)
    first = place == draft.directly_taught
    shared = scheme.generations > 1 or (draft.assistants and place == ("distill",))
    if name != TEACHER and (shared or not first):
        what = f"{name} teaches the first model of the chain"
        what += ", and others learn by this loss too" if first else " alone"
        fix = f"Leave {name}: out, for a layer of the model before, or remove the loss."
        problems.add((*path, "teacher"), what, fix)
    elif first and teacher is not None and teacher.black_box:
        what = f"{path[-1]} reads a layer of the {role_of(name)}, and {teacher.black_box} has none"
        problems.add(
            path,
            f"{what} to read",
            "Use kd, dkd, dist or mse, or relation and adversarial "
            "without layers, or give the teacher as model:.",
        )


def _check_cache(draft: Draft, place: Path, distill: DistillConfig) -> None:
    """Views and tasks that a cache cannot be used with."""
    cache, problems = distill.cache, draft.problems
    if cache is None:
        return
    if cache.views > 1 and distill.augment is None:
        what = f"{cache.views} views of each sample, and without augment they are all the same"
        problems.add((*place, "cache", "views"), what, "Add distill.augment, or remove views.")
    if cache.top_k is not None and draft.recipe.task != "classification":
        what = f"the predictions of {draft.recipe.task} have no largest classes to keep"
        problems.add((*place, "cache", "top_k"), what, "Remove top_k.")
