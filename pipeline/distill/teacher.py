"""The teachers of a distillation or a recording, ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgestill.artifact import Checkpoint, Dataset, OnnxModel
from edgestill.data.arrays import load_ids, load_inputs
from edgestill.digest import digest_value
from edgestill.models.config import ModelConfig
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.base import Loss
from edgestill.train.losses.config import Tap
from edgestill.train.stage import restore
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.ensemble import Ensemble
from edgestill.train.teachers.function import FunctionTeacher
from edgestill.train.teachers.live import LiveTeacher
from edgestill.train.teachers.onnx_model import OnnxTeacher
from edgestill.train.views import Views
from edgestill.train.voices import TEACHER, TeacherWeights, voices

TeacherModel = Checkpoint | OnnxModel
BlackBoxTeacher = OnnxTeacher | FunctionTeacher


@dataclass(frozen=True)
class Asking:
    """What teachers are asked about: the views of `train` which `augment` makes."""

    train: Dataset
    augment: AugmentConfig | None
    task: str
    threads: int
    base: Path


def open_teacher(
    role: str,
    config: ModelConfig | None,
    model: TeacherModel | None,
    layers: Iterable[Tap],
    asking: Asking,
) -> LiveTeacher | BlackBoxTeacher:
    """The teacher that these settings, its checkpoint or its ONNX model describe.

    Args:
        role: what messages call it.

    Raises:
        ModelError: a layer that it does not have, views that it cannot be fed, no prediction.
    """
    if isinstance(model, Checkpoint):
        assert config is not None
        restored = restore(config, model, asking.train, asking.task, asking.base)
        return LiveTeacher(restored, layers, role)
    return open_black_box(role, config, model, asking)


def open_black_box(
    role: str, config: ModelConfig | None, model: OnnxModel | None, asking: Asking
) -> BlackBoxTeacher:
    """The same for a teacher that is given as ONNX, or as a function."""
    arrays = load_inputs(asking.train)
    mixed = Views(asking.augment, arrays, load_ids(asking.train)).mixed_input
    if model is not None:
        return OnnxTeacher(model, arrays, asking.threads, mixed, role)
    assert config is not None and config.function is not None
    last = config.classes == "last"
    return FunctionTeacher(config.function, asking.base, arrays, mixed, role, classes_last=last)


def identity(config: ModelConfig | None, model: TeacherModel | None) -> str:
    """A digest that tells a teacher from another; the code of a function is the key's part."""
    return digest_value(config) if model is None else model.digest


def make_ensemble(
    names: Iterable[str],
    losses: Sequence[Loss],
    weights: TeacherWeights | None,
    task: str,
    open_: Callable[[str, tuple[Tap, ...]], Teacher],
) -> Ensemble | None:
    """The teachers that the losses read, each opened with the layers that they read of it; None
    where they read none."""
    names = tuple(names)
    heard = heard_teachers(names, losses, weights)
    layers = {name: teacher_layers(losses, name) for name in names}
    members = {name: open_(name, layers[name]) for name in names if name in heard or layers[name]}
    weighing = weights if isinstance(weights, str) else None
    return Ensemble(members, heard, task, weighing) if members else None


def heard_teachers(
    names: Iterable[str], losses: Sequence[Loss], weights: TeacherWeights | None
) -> dict[str, float]:
    """How much each of these teachers' predictions counts; none does where no loss reads them."""
    return voices(weights, names) if any(loss.reads.prediction for loss in losses) else {}


def teacher_layers(losses: Iterable[Loss], name: str) -> tuple[Tap, ...]:
    """What the losses read of a teacher's layers, each once, as the teacher itself calls them."""
    taps = dict.fromkeys(tap for loss in losses for tap in loss.reads.teacher)
    return tuple(replace(tap, teacher=TEACHER) for tap in taps if tap.teacher == name)
