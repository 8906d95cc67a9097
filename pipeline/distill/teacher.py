"""The teacher of a distillation or a recording, ready to be asked."""

from __future__ import annotations

from collections.abc import Iterable

from edgestill.artifact import Checkpoint, Dataset, OnnxModel
from edgestill.data.arrays import load_ids, load_inputs
from edgestill.distill.config import DistillStep, RecordStep
from edgestill.step import StepContext
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import Tap
from edgestill.train.onnx_teacher import OnnxTeacher
from edgestill.train.stage import restore
from edgestill.train.teachers import LiveTeacher
from edgestill.train.views import Views

TeacherModel = Checkpoint | OnnxModel


def open_teacher(
    config: DistillStep | RecordStep,
    teacher: TeacherModel,
    train: Dataset,
    layers: Iterable[Tap],
    augment: AugmentConfig | None,
    context: StepContext,
) -> LiveTeacher | OnnxTeacher:
    """The model that answers the views of `train` which `augment` makes.

    Raises:
        ModelError: a layer that it does not have, or views that it cannot be fed.
    """
    if isinstance(teacher, OnnxModel):
        arrays = load_inputs(train)
        mixed = Views(augment, arrays, load_ids(train)).mixed_input
        return OnnxTeacher(teacher, arrays, config.threads, mixed)
    assert config.teacher is not None
    model = restore(config.teacher, teacher, train, config.task, context.base)
    return LiveTeacher(model, layers)
