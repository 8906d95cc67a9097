"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxModel, Signature
from edgestill.data.arrays import label_shape, load_ids, load_inputs, load_labels
from edgestill.distill.record import require_top_k
from edgestill.distill.stage import (
    open_peer,
    peer_losses,
    require_same_prediction,
    student_losses,
)
from edgestill.distill.teacher import (
    Asking,
    BlackBoxTeacher,
    heard_teachers,
    make_ensemble,
    open_black_box,
)
from edgestill.errors import ModelError, about
from edgestill.export.config import CheckStep, Lesson
from edgestill.export.logits import require_logits
from edgestill.export.stage import write_onnx
from edgestill.models.config import ModelConfig
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model
from edgestill.step import StepContext
from edgestill.train.freezing import unreached
from edgestill.train.learner import Learner, attended_tokens
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import Tap
from edgestill.train.peers import peer_name
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import wrap
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.live import LiveTeacher
from edgestill.train.views import Views, require_whole_labels
from edgestill.train.voices import TEACHER, role_of

SAMPLES = 8
EXPORTED = (TEACHER, "student")

Asked = DeviceModel | BlackBoxTeacher  # a teacher


@dataclass(frozen=True)
class CheckInputs:
    """The split that everything is tried on, and by role the teachers that are given as ONNX."""

    train: Dataset
    teachers: Mapping[str, OnnxModel] = field(default_factory=dict)


@dataclass(frozen=True)
class _Batch:
    """The first samples of the train split.

    Attributes:
        inputs: each `[b, ...]`, in the order of `arrays`, which are the same by name.
    """

    train: Dataset
    arrays: Mapping[str, NDArray[Any]]
    inputs: list[torch.Tensor]
    labels: Labels | None

    @property
    def rows(self) -> NDArray[numpy.int64]:
        return numpy.arange(len(self.inputs[0]))


def check(config: CheckStep, inputs: CheckInputs, out: Path, context: StepContext) -> None:
    """One batch through teachers, students, losses and exporter.

    Raises:
        ModelError: a model cannot be built or fed, or does not fit the data or its teachers.
        ExportError: a model cannot be exported.
    """
    batch = _first(inputs.train)
    ids, labels = load_ids(inputs.train)[:SAMPLES], load_labels(inputs.train)
    for augment in dict.fromkeys(lesson.augment for lesson in config.lessons):
        Views(augment, batch.arrays, ids)  # refuses what it cannot make views of
        require_whole_labels(augment, labels)
    summary: list[str] = []
    with reproducible(config.seed, torch.get_num_threads()):
        models = _built(config, batch, context, summary)
        teachers = {**models, **_black_boxes(config, inputs, batch, context)}
        for index, lesson in enumerate(config.lessons):
            context.progress(0.5 + index / len(config.lessons) / 4, f"try {lesson.name}")
            asked = {name: teachers[role] for name, role in lesson.teachers.items()}
            _try_lesson(lesson, models[lesson.learner], asked, config, batch, context)
        for role in EXPORTED:
            if role in models:
                context.progress(0.75, f"export {role}")
                folder = context.work / role
                folder.mkdir(parents=True, exist_ok=True)
                with about(role):
                    signature = write_onnx(models[role].eval(), batch.arrays, config.export, folder)
                    graph = read_model(folder / "model.onnx")
                    _require_logits(role, models[role], graph, signature, config, batch)
        for role, given in inputs.teachers.items():
            with about(role):
                graph, signature = read_model(given.model_path), given.description.signature
                _require_logits(role, teachers[role], graph, signature, config, batch)
    predicting = ((role, teachers[role].prediction_shape) for role in config.models)
    summary += [f"{role}: predicts {shape}" for role, shape in predicting]
    (out / "check.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")


def _first(train: Dataset) -> _Batch:
    arrays = {name: array[:SAMPLES] for name, array in load_inputs(train).items()}
    labels = load_labels(train)
    known = None if labels is None else Labels(torch.from_numpy(numpy.array(labels[:SAMPLES])))
    return _Batch(train, arrays, to_tensors(arrays, slice(None), torch.device("cpu")), known)


def _built(
    config: CheckStep, batch: _Batch, context: StepContext, summary: list[str]
) -> dict[str, DeviceModel]:
    """Every PyTorch model, fed with samples; what is derived from the teacher is told."""
    models: dict[str, DeviceModel] = {}
    configs = {role: model for role, model in config.models.items() if model.model}
    judged = {*EXPORTED, *_predicting(config, batch.train)}
    for role, model_config in configs.items():

        def told(line: str, role: str = role) -> None:
            summary.append(f"{role} from the teacher: {line}")
            context.say(summary[-1])

        context.progress(len(models) / len(configs) / 2, f"build {role}")
        with about(role):
            models[role] = wrap(model_config, batch.train, config.task, context.base, say=told)
            if role in judged:
                _require_classes(models[role].prediction_shape, model_config, batch.train)
    return models


def _predicting(config: CheckStep, train: Dataset) -> set[str]:
    """The roles whose predictions losses read: not those read for their layers alone."""
    roles = {lesson.learner for lesson in config.lessons}
    for lesson in config.lessons:
        losses = _losses(lesson, config.task, train)
        heard = heard_teachers(lesson.teachers, losses, lesson.weights)
        roles |= {lesson.teachers[name] for name in heard}
    return roles


def _black_boxes(
    config: CheckStep, inputs: CheckInputs, batch: _Batch, context: StepContext
) -> dict[str, BlackBoxTeacher]:
    """The teachers without layers, each asked about the samples."""
    functions = {role: model for role, model in config.models.items() if model.function}
    found = {}
    for role in (*functions, *inputs.teachers):
        views = (lesson.augment for lesson in config.lessons if role in lesson.teachers.values())
        asking = Asking(
            batch.train, next(views, None), config.task, torch.get_num_threads(), context.base
        )
        settings = functions.get(role)
        found[role] = open_black_box(role, settings, inputs.teachers.get(role), asking)
        if settings is not None:
            with about(role):
                _require_classes(found[role].prediction_shape, settings, batch.train)
            found[role].answer(batch.inputs, batch.rows, 0)
    return found


def _require_classes(shape: tuple[int, ...], config: ModelConfig, train: Dataset) -> None:
    require_classes(shape, train.description, label_shape(train), config.classes)


def _require_logits(
    role: str,
    model: Asked,
    graph: Any,
    signature: Signature,
    config: CheckStep,
    batch: _Batch,
) -> None:
    """Refuse probabilities, by the graph that the model became."""
    taught, shape = role in _predicting(config, batch.train), model.prediction_shape
    require_logits(graph, signature.prediction, shape, config.task, taught=taught)


def _peers(
    lesson: Lesson, student: DeviceModel, config: CheckStep, batch: _Batch, context: StepContext
) -> list[Learner]:
    """Those that learn beside the student, each asked once."""
    train, peers = batch.train, []
    for number, settings in enumerate(lesson.peers, 1):
        name = peer_name(number)
        context.progress(0.5, f"build {name}")
        peer = open_peer(settings, number, train, config.task, config.seed, context.base)
        with about(name):
            _require_classes(peer.prediction_shape, settings, train)
            _require_gradient(peer.train().prediction(*batch.inputs))
        shapes = peer.prediction_shape, student.prediction_shape
        require_same_prediction(*shapes, name, lesson.name)
        peers.append(Learner(peer, peer_losses(lesson.losses, config.task, train, number)))
    return peers


def _try_lesson(
    lesson: Lesson,
    model: DeviceModel,
    teachers: Mapping[str, Asked],
    config: CheckStep,
    batch: _Batch,
    context: StepContext,
) -> None:
    """One step of a training's objective on the first samples, backwards too, and of its peers'."""
    losses = _losses(lesson, config.task, batch.train)
    for name in heard_teachers(teachers, losses, lesson.weights):
        shape = teachers[name].prediction_shape
        called = f"the {_called(name, lesson)}"
        require_same_prediction(shape, model.prediction_shape, called, lesson.name)
        require_top_k(lesson.top_k, shape)
    peers = _peers(lesson, model, config, batch, context)
    if lesson.learn_from == "average":
        teachers = {TEACHER: deepcopy(model)}  # as which it starts
    with about(lesson.name), _trainable_again(model):
        answers = _answers(lesson, teachers, losses, config.task, batch)
        attended = attended_tokens(batch.arrays, batch.inputs)
        given = partial(LossInputs, teacher=answers, labels=batch.labels, attended=attended)
        learner = Learner(model, losses, only=lesson.only, peers=peers)
        learner.train()
        learner.adapt(batch.inputs, given)
        for member, seen in zip(
            learner.learners, learner.batches(batch.inputs, given), strict=True
        ):
            if member is not learner or not lesson.only:
                _require_gradient(seen.student.logits)
            for loss in member.own_terms:
                _try_loss(loss, seen)
        _require_reached(model, lesson.only)
        learner.taps.close()
    model.zero_grad()


def _losses(lesson: Lesson, task: str, train: Dataset) -> tuple[Loss, ...]:
    with about(lesson.name):
        taught = lesson.learn_from == "teacher"
        return student_losses(lesson.losses, task, train, taught=taught)


@contextmanager
def _trainable_again(model: DeviceModel) -> Iterator[None]:
    """Let what is frozen for one lesson be free for the next."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    yield
    for parameter in free:
        parameter.requires_grad_(True)


def _called(teacher: str, lesson: Lesson) -> str:
    """What messages call a teacher: in a chain `teacher` is another one for each training."""
    name, role = role_of(teacher), lesson.teachers.get(teacher)
    if lesson.learn_from == "average":
        return f"{name} (the student's average)"
    if role == lesson.learner:
        return f"{name} (the generation before)"
    return name if role == name else f"{name} ({role})"


def _answers(
    lesson: Lesson,
    teachers: Mapping[str, Asked],
    losses: Sequence[Loss],
    task: str,
    batch: _Batch,
) -> Outputs | None:
    """What the teachers say of the first samples; None where no loss asks."""
    with ExitStack() as asked:

        def opened(name: str, layers: tuple[Tap, ...]) -> Teacher:
            teacher = teachers[name]
            if not isinstance(teacher, DeviceModel):
                return teacher
            asked.enter_context(_trainable_again(teacher))
            live = LiveTeacher(teacher, layers, _called(name, lesson))
            asked.callback(live.taps.close)
            return live

        ensemble = make_ensemble(teachers, losses, lesson.weights, task, opened)
        if ensemble is None:
            return None
        if ensemble.weighing == "loss" and batch.labels is None:
            raise ModelError(
                "distill.teachers: loss weighs teachers by the labels, and the train split has "
                "none",
                fix="Write confidence, or a weight for each teacher",
            )
        return ensemble.answer(batch.inputs, batch.rows, 0, batch.labels)


def _require_reached(model: DeviceModel, only: Sequence[str]) -> None:
    """Refuse to train a part of a model that no loss depends on."""
    for path in unreached(model, only):
        raise ModelError(
            "no loss depends on it, so that it would learn nothing",
            where=f"only: {path}",
            fix="Leave it out, or add a loss that depends on it",
        )


def _require_gradient(logits: torch.Tensor) -> None:
    """Refuse a model in train mode that nothing can be taught."""
    if not logits.requires_grad:
        raise ModelError(
            "its prediction depends on no trainable parameter",
            fix="Look for detach, no_grad, argmax and requires_grad in the model, or set "
            "pretrained: true where nothing is to be trained",
        )


def _try_loss(loss: Loss, terms: LossInputs) -> None:
    logits = terms.student.logits
    try:
        value = loss(terms)
        if not value.requires_grad:
            raise ModelError(
                f"the loss {loss.name} depends on nothing that learns",
                fix="Leave it out, or let something learn that it depends on",
            )
        torch.autograd.backward(value, retain_graph=True)
    except (RuntimeError, IndexError, ValueError) as error:
        labels = f"labels {list(terms.labels.own.shape)}" if terms.labels else "no labels"
        raise ModelError(
            f"the loss {loss.name} cannot be computed from predictions "
            f"{list(logits.shape)} and {labels} ({error})",
            fix="Look at the model's output, the task, the labels and the losses",
        ) from error
    if not torch.isfinite(value):
        raise ModelError(
            f"the loss {loss.name} is {float(value.detach())} on the first {len(logits)} samples",
            fix="Look at normalize: and at the model's initial weights",
        )
