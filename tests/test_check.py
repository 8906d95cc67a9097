"""The check step: what would stop a run later is found before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    OnnxDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
from edgestill.check import CheckInputs, check
from edgestill.errors import EdgestillError
from edgestill.export.config import CheckStep, ExportConfig, Lesson
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.onnx_file import tensor_specs
from edgestill.step import StepContext
from edgestill.train.config import AugmentConfig
from edgestill.train.losses import default_losses
from edgestill.train.losses.config import (
    CeLoss,
    DkdLoss,
    HeadsLoss,
    HintLoss,
    KdLoss,
    LossConfig,
    MseLoss,
)
from edgestill.train.voices import role_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:# The axis name", "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)

CODE = '''
import torch
from torch import nn


class Net(nn.Module):
    """One linear layer, and a function of what it gives."""

    def __init__(self, outputs=3, then="y", frozen=False):
        super().__init__()
        self.layer = nn.Linear(4, outputs).requires_grad_(not frozen)
        self.then = then

    def forward(self, x):
        y = self.layer(x)
        return eval(self.then, {"torch": torch, "x": x, "y": y, "self": self, "int": int})


class Trained(Net):
    """Fails only where it learns."""

    def forward(self, x):
        if self.training:
            raise ValueError("too few samples")
        return super().forward(x)


class Around(nn.Module):
    """A wrapper that does not say what it takes."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


class Deep(nn.Module):
    """Two layers that losses can be about; the hidden one is as wide as asked."""

    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x))


def compiled():
    return torch.compile(Net())


def half():
    return Net().half()


def broken():
    raise RuntimeError("no such weights")
'''

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def dataset(
    base: Path, labels: NDArray[Any] | None, task: str = "classification", x: NDArray[Any] = X
) -> Dataset:
    folder = base / "data"
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", x)
    np.save(folder / "ids.npy", np.arange(len(x), dtype=np.uint64))
    names: tuple[str, ...] = ()
    if labels is not None:
        np.save(folder / "labels.npy", labels)
        count = labels.shape[1] if task == "multilabel" else int(labels.max()) + 1
        names = tuple(map(str, range(count))) if task in ("classification", "multilabel") else ()
    specs = (TensorSpec("x", x.dtype.name, (None, *x.shape[1:])),)
    return Dataset.seal(folder, DatasetDescription("train", len(x), task, specs, names))


def net(name: str = "Net", normalize: NormalizeConfig | None = None, **arguments: Any) -> Any:
    return ModelConfig(model=f"net.py:{name}", arguments=arguments, normalize=normalize)


def taught(*losses: LossConfig, teachers: Sequence[str] = ("teacher",), **settings: Any) -> Lesson:
    """The student's training by these teachers."""
    names = {name: role_of(name) for name in teachers}
    return Lesson("student", "student", names, losses, **settings)


def alone(role: str, task: str = "classification") -> Lesson:
    """A training on labels alone."""
    return Lesson(role, role, losses=default_losses(task, teacher=False))


def step(*lessons: Lesson, task: str = "classification", **models: ModelConfig) -> CheckStep:
    """What tries these models, by role, and a student."""
    found = {**models, "student": models.get("student", net())}
    return CheckStep(found, lessons, ExportConfig(), task, seed=0)


TEACHER_ALONE, STUDENT_ALONE = alone("teacher"), alone("student")
CLASSES = np.arange(20) % 3
TOKENS = "y[:, None].expand(-1, 4, -1)"  # four alike, each with its classes last


def run(
    base: Path,
    config: CheckStep,
    data: Dataset,
    teacher: OnnxModel | None = None,
    role: str = "teacher",
) -> str:
    out = base / "out"
    out.mkdir()
    context = StepContext(base, base / "work", lambda share, words: None, lambda line: None)
    check(config, CheckInputs(data, {role: teacher} if teacher else {}), out, context)
    return (out / "check.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "shape"),
    [
        ("classification", CLASSES, 3, "(3,)"),
        ("classification", CLASSES % 2, 1, "(1,)"),
        ("multilabel", np.eye(3, dtype=np.float32)[CLASSES], 3, "(3,)"),
        ("regression", X[:, 0], 1, "(1,)"),
        ("custom", X, 4, "(4,)"),
    ],
    ids=["classes", "one logit", "labels", "a value", "custom"],
)
def test_what_fits_passes(
    base: Path, task: str, labels: NDArray[Any], outputs: int, shape: str
) -> None:
    student = net(outputs=outputs, then="y * 2")
    config = step(alone("student", task), task=task, student=student)
    found = run(base, config, dataset(base, labels, task))
    assert found == f"student: predicts {shape}\n"


def test_teacher_and_student_that_fit_pass(base: Path) -> None:
    config = step(TEACHER_ALONE, taught(), teacher=net())
    found = run(base, config, dataset(base, CLASSES))
    assert found == "teacher: predicts (3,)\nstudent: predicts (3,)\n"


@pytest.mark.parametrize("name", ["Around", "compiled"])
def test_wrappers_of_modules_pass(base: Path, name: str) -> None:
    run(base, step(STUDENT_ALONE, student=net(name)), dataset(base, CLASSES))


def test_labels_that_are_left_out_stop_nothing(base: Path) -> None:
    """All of the first samples have none."""
    labels = np.where(np.arange(20) < 10, -100, CLASSES)
    run(base, step(STUDENT_ALONE), dataset(base, labels))


@pytest.mark.parametrize(
    ("labels", "outputs", "then", "message"),
    [
        (np.arange(20) % 5, 3, "y", r"student: it predicts 3 classes, the labels have 5. Give the"),
        (CLASSES, 1, "y", r"student: it predicts 1 class, the labels have 3. Give the model as"),
        (CLASSES, 1, "y[:, 0]", r"student: it predicts 1 class, the labels have 3"),
        (
            CLASSES,
            3,
            "y[:, None]",
            r"student: it predicts 1 class \(the first axis of \[1, 3\]\), the labels have 3. "
            r"Return \[batch, 3\], or the classes as the first axis after the batch$",
        ),
        (
            CLASSES,
            4,
            "y[:, :, None]",
            r"student: it predicts \[4, 1\] a sample, which has one label. Return \[batch, "
            r"classes\] for these labels$",
        ),
        (
            CLASSES,
            3,
            "y.log()",
            r"student: the loss ce is nan on the first 8 samples. Look at normalize: and at the "
            r"model's initial weights$",
        ),
        (
            CLASSES,
            3,
            "y.detach()",
            r"student: its prediction depends on no trainable parameter. Look for detach, no_grad, "
            r"argmax and requires_grad in the model, or set pretrained: true where nothing is to",
        ),
        (
            CLASSES,
            3,
            "y.view(2, 3)",
            r"student: \S*net.py:\d+: forward raised RuntimeError: shape '\[2, 3\]' is invalid .* "
            r"in train mode, given x float32 \[8, 4\]. Compare the inputs with what the model was",
        ),
        (CLASSES, 3, "y.softmax(1)", r"student: its prediction comes out of a softmax, and scores"),
        (CLASSES, 3, "(y, y)", r"student: the model has several outputs: output_0, output_1. Say"),
        (CLASSES, 3, "y.mean()", r"student: output logits is \[\] for 2 samples: its first axis"),
    ],
)
def test_a_student_that_cannot_learn(
    base: Path, labels: NDArray[Any], outputs: int, then: str, message: str
) -> None:
    config = step(STUDENT_ALONE, student=net(outputs=outputs, then=then))
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, dataset(base, labels))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (net("broken"), r"net.py:broken \(net.py:\d+\): broken\(\) raised RuntimeError: no such w"),
        (net("Nett"), r"net.py:Nett: there is no 'Nett' in net.py. Did you mean 'Net'\?"),
        (
            net("half"),
            r"\S*net.py:\d+: forward raised RuntimeError: .* in eval mode, given x float32 "
            r"\[2, 4\]. Floats arrive as float32, and it has weights of torch.float16: return",
        ),
        (net("Net", frozen=True), r"its prediction depends on no trainable parameter"),
        (net("Trained"), r"\S*net.py:\d+: forward raised ValueError: too few samples in train"),
        (
            net("Net", normalize=NormalizeConfig(1, (0.1, 0.2), (1.0,))),
            r"normalize has 2 channels, the input is x float32 \[\?, 4\]",
        ),
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_the_message_says_which_model(
    base: Path, role: str, model: ModelConfig, message: str
) -> None:
    models: dict[str, Any] = {"teacher": net(), "student": net(), role: model}
    config = step(TEACHER_ALONE, taught(), **models)
    with pytest.raises(EdgestillError, match=f"^{role}: {message}"):
        run(base, config, dataset(base, CLASSES))


def test_teacher_and_student_of_different_shapes(base: Path) -> None:
    config = step(taught(), teacher=net(outputs=5))
    message = (
        r"^student: the teacher predicts \[5\] values per sample, the student \[3\]. "
        r"Give both a prediction of one shape, or name the outputs that match with output:$"
    )
    with pytest.raises(EdgestillError, match=message):
        run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("task", "losses", "labels", "message"),
    [
        (
            "classification",
            (CeLoss(), MseLoss(to="labels")),
            CLASSES,
            r"student: the loss mse to labels cannot be computed from predictions \[8, 3\] and "
            r"labels \[8\]",
        ),
        (
            "regression",
            (),
            X[:, :2],
            r"student: the loss mse to labels cannot be computed from predictions \[8, 3\] and "
            r"labels \[8, 2",
        ),
    ],
)
def test_losses_that_cannot_be_computed(
    base: Path,
    task: str,
    losses: tuple[LossConfig, ...],
    labels: NDArray[Any] | None,
    message: str,
) -> None:
    config = step(taught(*losses), task=task, teacher=net())
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, dataset(base, labels, task))


@pytest.mark.parametrize("losses", [(), (KdLoss(), MseLoss())], ids=["the usual", "written"])
def test_a_student_may_learn_from_its_teacher_alone(
    base: Path, losses: tuple[LossConfig, ...]
) -> None:
    run(base, step(taught(*losses), teacher=net()), dataset(base, None))


@pytest.mark.parametrize(
    ("lessons", "message"),
    [
        ((taught(KdLoss(), CeLoss()),), "student: the loss ce reads labels"),
        ((taught(DkdLoss()),), "student: the loss dkd reads labels"),
        ((taught(MseLoss(to="labels")),), "student: the loss mse to labels reads labels"),
        ((TEACHER_ALONE, taught(KdLoss())), "teacher: the loss ce reads labels"),
    ],
)
def test_losses_that_read_labels_that_are_not_there(
    base: Path, lessons: tuple[Lesson, ...], message: str
) -> None:
    config = step(*lessons, teacher=net())
    with pytest.raises(EdgestillError) as error:
        run(base, config, dataset(base, None))
    assert str(error.value) == (
        f"{message}, and the train split has none. Give train labels, or learn from a teacher "
        "alone, such as by kd, dist or mse"
    )


def test_only_what_learns_needs_losses(base: Path) -> None:
    """A segmentation model that came trained: its labels are no values to be near to."""
    data = dataset(base, np.zeros((20, 2), np.int64), "custom")
    student = net(then="y[:, :, None].expand(-1, -1, 2)")
    run(base, step(task="custom", student=student), data)


def test_the_teacher_learns_from_labels_alone(base: Path) -> None:
    data = dataset(base, X[:, :2], "custom")
    lessons = (alone("teacher", "custom"), taught(MseLoss()))
    config = step(*lessons, task="custom", teacher=net())
    with pytest.raises(
        EdgestillError, match=r"^teacher: the loss mse to labels cannot be computed from"
    ):
        run(base, config, data)


def test_models_that_are_not_distilled_may_differ(base: Path) -> None:
    config = step(STUDENT_ALONE, teacher=net(outputs=5))
    run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("role", "then", "message"),
    [
        (
            "student",
            "y if x.sum() > 0 else -y",
            r"the model cannot be exported: GuardOnDataDependentSymNode",
        ),
        (
            "teacher",
            "torch.linalg.inv(y[:, :, None] * y[:, None] + torch.eye(3))[:, 0]",
            r"the model cannot be exported: ONNX has no counterpart of aten.linalg_inv_ex",
        ),
        (
            "student",
            "y.view(int(y.shape[0]), 3)",
            r"the batch of x should be free in the export, and is 2",
        ),
        (
            "student",
            "torch.nn.functional.dropout(y, 0.5, True)",
            r"output logits differs by .*Look in forward for randomness",
        ),
        (
            "student",
            "y - y.mean(0)",
            r"output logits differs by .*and for statistics over the batch",
        ),
    ],
)
def test_a_model_that_would_not_export(base: Path, role: str, then: str, message: str) -> None:
    models: dict[str, Any] = {"teacher": net(), "student": net(), role: net(then=then)}
    config = step(STUDENT_ALONE, **models)
    with pytest.raises(EdgestillError, match=rf"^{role}: (\S*net.py:\d+: )?{message}"):
        run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("learn_from", "peers", "losses"),
    [
        ("teacher", (), (CeLoss(), HeadsLoss(("layer",)))),
        ("average", (), (CeLoss(), KdLoss(), HintLoss("layer", "layer"))),
        ("average", (), ()),
        ("peers", (net(then="y * 2"), net(outputs=3)), ()),
    ],
    ids=["heads", "average", "the usual losses of the average", "peers"],
)
def test_a_student_may_learn_without_a_teacher(
    base: Path, learn_from: str, peers: tuple[ModelConfig, ...], losses: tuple[LossConfig, ...]
) -> None:
    lesson = taught(*losses, learn_from=learn_from, peers=peers, teachers=())
    config = step(lesson)
    assert run(base, config, dataset(base, CLASSES)) == "student: predicts (3,)\n"


def test_the_average_of_a_student_need_not_predict_what_the_teacher_does(base: Path) -> None:
    lesson = taught(CeLoss(), KdLoss(), learn_from="average", teachers=())
    config = step(lesson, teacher=net(outputs=5))
    run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("peer", "losses", "message"),
    [
        (
            net(outputs=5),
            (),
            r"student: peer 2 predicts \[5\] values per sample, the student \[3\]. Give both a "
            r"prediction of one shape, or name the outputs that match with output:$",
        ),
        (net("Nett"), (), r"peer 2: net.py:Nett: there is no 'Nett' in net.py. Did you mean"),
        (net("Trained"), (), r"peer 2: \S*net.py:\d+: forward raised ValueError: too few samples"),
        (net(frozen=True), (), r"peer 2: its prediction depends on no trainable parameter"),
        (
            net(then="y.log()"),
            (),
            r"student: the loss kd is nan on the first 8 samples. Look at normalize: and at the",
        ),
        (
            net(then="y.log()"),
            (CeLoss(),),
            r"student: the loss peer 2 ce is nan on the first 8 samples. Look at normalize: and",
        ),
    ],
)
def test_a_peer_that_does_not_fit(
    base: Path, peer: ModelConfig, losses: tuple[LossConfig, ...], message: str
) -> None:
    lesson = taught(*losses, learn_from="peers", peers=(net(), peer), teachers=())
    config = step(lesson)
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, dataset(base, CLASSES))


def test_without_labels_an_average_has_nothing_to_teach(base: Path) -> None:
    config = step(taught(learn_from="average", teachers=()))
    with pytest.raises(EdgestillError, match=r"^student: the loss ce reads labels, and the train"):
        run(base, config, dataset(base, None))


@pytest.mark.parametrize("role", ["teacher", "student", "peer 1"])
def test_classes_that_are_the_last_axis_are_found(base: Path, role: str) -> None:
    data = dataset(base, np.stack([CLASSES] * 4, axis=1))
    first, last = net(then="y[:, :, None].expand(-1, -1, 4)"), net(then=TOKENS)
    models = {"teacher": first, "student": first, "peer 1": first, role: last}
    peers = (models.pop("peer 1"),)
    lesson = taught(CeLoss(), KdLoss(), learn_from="peers", peers=peers, teachers=())
    config = step(lesson, **models)
    message = rf"^{role}: it predicts \[4, 3\] a sample, and labels are \[4\]: its classes are the"
    with pytest.raises(EdgestillError, match=message):
        run(base, config, data)


def test_classes_that_are_said_to_be_the_last_axis_become_the_first(base: Path) -> None:
    data = dataset(base, np.stack([CLASSES] * 4, axis=1))
    moved = replace(net(then=TOKENS), classes="last")
    config = step(taught(CeLoss(), KdLoss()), teacher=moved, student=moved)
    assert run(base, config, data) == "teacher: predicts (3, 4)\nstudent: predicts (3, 4)\n"


@pytest.mark.parametrize("axis", ["first", "last", None])
def test_a_function_says_which_axis_its_classes_are(base: Path, axis: Any) -> None:
    """Three tokens of three classes: the shape alone does not tell."""
    data = dataset(base, np.stack([CLASSES] * 3, axis=1))
    student = net(then="y[:, :, None].expand(-1, -1, 3)")
    teacher = replace(asked(base, "return batch['x'][:, :3, None] * [1.0, 2.0, 3.0]"), classes=axis)
    student = replace(student, classes="first")
    config = step(taught(CeLoss(), KdLoss()), teacher=teacher, student=student)
    if axis is not None:
        run(base, config, data)
        return
    message = r"^teacher: it predicts \[3, 3\] .*Say which with classes: first or classes: last$"
    with pytest.raises(EdgestillError, match=message):
        run(base, config, data)


def test_heads_need_a_layer_and_a_prediction_for_whole_samples(base: Path) -> None:
    data = dataset(base, CLASSES)
    there = step(taught(CeLoss(), HeadsLoss(("laye",)), teachers=()))
    with pytest.raises(EdgestillError, match=r"^student: layer laye of the student: there is no"):
        run(base, there, data)
    (base / "out").rmdir()
    (base / "data").rename(base / "other data")
    data = dataset(base, np.stack([CLASSES] * 2, axis=1))
    student = net(then="y[:, :, None].repeat(1, 1, 2)")
    with pytest.raises(
        EdgestillError, match=r"^student: the loss heads: a head classifies a whole"
    ):
        run(base, step(taught(HeadsLoss(("layer",)), teachers=()), student=student), data)


def test_bytes_become_floats_before_the_loss(base: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4), np.uint8)
    config = step(STUDENT_ALONE, student=net(normalize=NormalizeConfig(255)))
    run(base, config, dataset(base, CLASSES, x=pixels))


def onnx_teacher(base: Path, shape: tuple[int, ...], dtype: int = TensorProto.FLOAT) -> OnnxModel:
    """Gives the first values of each sample, whatever the data's type."""
    folder = base / "onnx"
    folder.mkdir()
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["first"]),
        helper.make_node("Cast", ["first"], ["logits"], to=TensorProto.FLOAT),
    ]
    tensors = [
        helper.make_tensor(name, TensorProto.INT64, [1], [number])
        for name, number in (("from", 0), ("to", 3), ("axis", len(shape)))
    ]
    inputs = [helper.make_tensor_value_info("x", dtype, ["n", *shape])]
    answer = ["n", *shape[:-1], 3]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, answer)]
    graph = helper.make_graph(nodes, "first", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, folder / "model.onnx")
    signature = Signature(tensor_specs(graph.input), tensor_specs(graph.output), "logits")
    return OnnxModel.seal(folder, OnnxDescription(signature, "fp32"))


def test_a_teacher_given_as_onnx_is_asked_and_has_to_predict_what_the_student_does(
    base: Path,
) -> None:
    lesson, data = taught(KdLoss()), dataset(base, CLASSES)
    teacher = onnx_teacher(base, (4,))
    assert run(base, step(lesson), data, teacher) == "student: predicts (3,)\n"
    (base / "out" / "check.txt").unlink()
    (base / "out").rmdir()
    message = r"^student: the teacher predicts \[3\] values per sample, the student \[5\]. Give"
    with pytest.raises(EdgestillError, match=message):
        run(base, step(lesson, student=net(outputs=5)), data, teacher)


def asked(base: Path, body: str) -> ModelConfig:
    """A teacher that is a function of this body."""
    (base / "asked.py").write_text(f"def answers(batch):\n    {body}\n", encoding="utf-8")
    return ModelConfig(function="asked.py:answers")


def test_several_teachers_are_asked_together(base: Path) -> None:
    """A model, an ONNX file and a function, weighed by labels of which one is missing."""
    labels = np.where(np.arange(20) == 3, -100, CLASSES)
    models = {"teacher deep": asked(base, "return batch['x'][:, :3]"), "teacher": net()}
    losses = (CeLoss(), HintLoss("layer", "teacher:layer"), KdLoss())
    lesson = taught(*losses, teachers=("deep", "teacher", "wide"), weights="loss")
    file, data = onnx_teacher(base, (4,)), dataset(base, labels)
    found = run(base, step(lesson, **models), data, file, "teacher wide")
    assert found == (
        "teacher deep: predicts (3,)\nteacher: predicts (3,)\nstudent: predicts (3,)\n"
    )


BOTH = ("teacher", "wide")


@pytest.mark.parametrize(
    ("lessons", "wide", "message"),
    [
        (
            (taught(teachers=BOTH),),
            net(outputs=5),
            r"student: the teacher wide predicts \[5\] values per sample, the student \[3\]. Give",
        ),
        (
            (taught(teachers=BOTH),),
            net("broken"),
            r"teacher wide: net.py:broken \(net.py:\d+\): broken\(\) raised RuntimeError: no such",
        ),
        (
            (alone("teacher wide"), taught(teachers=BOTH)),
            net(frozen=True),
            r"teacher wide: its prediction depends on no trainable parameter",
        ),
        (
            (taught(HintLoss("layer", "wide:layr"), teachers=BOTH),),
            net(),
            r"student: layer layr of the teacher wide: there is no such layer. Did you mean 'layer",
        ),
        (
            (taught(teachers=BOTH),),
            net(outputs=2),
            r"teacher wide: it predicts 2 classes, the labels have 3",
        ),
    ],
    ids=["other shape", "broken", "frozen", "no such layer", "too few classes"],
)
def test_a_further_teacher_that_does_not_fit(
    base: Path, lessons: tuple[Lesson, ...], wide: ModelConfig, message: str
) -> None:
    config = step(*lessons, **{"teacher": net(), "teacher wide": wide})
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, dataset(base, CLASSES))


WIDE_HINT = HintLoss("layer", "wide:layer")


@pytest.mark.parametrize(
    "lesson",
    [
        taught(KdLoss(), WIDE_HINT, teachers=BOTH, weights={"teacher": 1.0, "wide": 0.0}),
        taught(CeLoss(), WIDE_HINT, teachers=("wide",)),
    ],
    ids=["weight 0", "no loss compares predictions"],
)
@pytest.mark.parametrize("outputs", [2, 5], ids=["fewer", "more"])
def test_a_teacher_that_nobody_hears_may_predict_something_else(
    base: Path, lesson: Lesson, outputs: int
) -> None:
    """More or fewer values than there are classes: its layers are all that is read."""
    config = step(lesson, **{"teacher": net(), "teacher wide": net(outputs=outputs)})
    run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("loss", "message"), [(HintLoss("layer", "teacher:layer"), ""), (KdLoss(), "teacher: its pred")]
)
def test_probabilities_of_a_teacher_are_refused_where_a_loss_reads_them(
    base: Path, loss: LossConfig, message: str
) -> None:
    config = step(taught(CeLoss(), loss), teacher=net(then="y.softmax(1)"))
    data = dataset(base, CLASSES)
    if not message:
        run(base, config, data)
        return
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, data)


def test_teachers_weighed_by_labels_that_are_not_there(base: Path) -> None:
    lesson = taught(teachers=BOTH, weights="loss")
    config = step(lesson, **{"teacher": net(), "teacher wide": net()})
    with pytest.raises(EdgestillError) as error:
        run(base, config, dataset(base, None))
    assert str(error.value) == (
        "student: distill.teachers: loss weighs teachers by the labels, and the train split has "
        "none. Write confidence, or a weight for each teacher"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return batch['y']", r"asked.py:answers \(asked.py:2\): answers\(\) raised KeyError: 'y'"),
        ("return batch['x'][:, :2]", r"it predicts 2 classes, the labels have 3. Give the model"),
        (
            "return batch['x'][:, :3] - batch['x'].max()",
            r"it answers a sample otherwise when it is asked again, or beside another one. Let it",
        ),
        (
            "return batch['x'][:, :3] if len(batch['x']) < 3 else batch['x'] / 0",
            r"asked.py:answers: it returned values that are not finite",
        ),
    ],
)
@pytest.mark.parametrize("lesson", [taught(), STUDENT_ALONE], ids=["teaches", "is compared with"])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_function_that_does_not_answer(
    base: Path, body: str, message: str, lesson: Lesson
) -> None:
    config = step(lesson, teacher=asked(base, body))
    with pytest.raises(EdgestillError, match=f"^teacher: {message}"):
        run(base, config, dataset(base, CLASSES))


def test_views_of_a_teachers_own_training_are_not_those_it_is_asked_about(base: Path) -> None:
    """Whole numbers will do for the file, although another teacher learns from mixed images."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), np.uint8)
    model = net(then="y.mean((1, 2))", normalize=NormalizeConfig(255))
    file = onnx_teacher(base, (1, 4, 4), TensorProto.UINT8)
    mixing = replace(alone("teacher wide"), augment=AugmentConfig(mixup=1.0))
    models = {"teacher wide": model, "student": model}
    config = step(mixing, taught(KdLoss(), teachers=BOTH), **models)
    with pytest.raises(EdgestillError, match=r"^student: the teacher predicts \[1, 4, 3\]"):
        run(base, config, dataset(base, CLASSES, x=pixels), file)


def test_an_onnx_teacher_of_whole_numbers_and_mixed_views(base: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), np.uint8)
    student = net(then="y.mean((1, 2))", normalize=NormalizeConfig(255))
    data = dataset(base, CLASSES, x=pixels)
    lesson = taught(CeLoss(), augment=AugmentConfig(cutmix=1.0))
    teacher = onnx_teacher(base, (1, 4, 4), TensorProto.UINT8)
    message = r"^teacher: its input x is uint8 and read by Slice, and mixed samples are fractions"
    with pytest.raises(EdgestillError, match=message):
        run(base, step(lesson, student=student), data, teacher)


HINT = HintLoss("body", "body")


def test_assistants_are_tried_as_pupils_and_as_teachers(base: Path) -> None:
    lessons = (
        Lesson("assistant 1", "assistant 1", {"teacher": "teacher"}, (HINT,)),
        Lesson("student stage 1", "student", {"teacher": "assistant 1"}, (HINT,), ("body",)),
        Lesson("student", "student", {"teacher": "assistant 1"}),
    )
    models = {"teacher": net("Deep", width=8), "assistant 1": net("Deep", width=6)}
    config = step(*lessons, **models, student=net("Deep"))
    found = run(base, config, dataset(base, CLASSES))
    assert found.splitlines() == [
        f"{role}: predicts (3,)" for role in ("teacher", "assistant 1", "student")
    ]
    assert {path.name for path in (base / "work").iterdir()} == {"teacher", "student"}


def test_a_model_may_learn_from_itself_as_it_was(base: Path) -> None:
    """The next generation: what is frozen as its teacher still learns."""
    generation = Lesson("student generation 2", "student", {"teacher": "student"}, (HINT, KdLoss()))
    config = step(generation, STUDENT_ALONE, student=net("Deep"))
    run(base, config, dataset(base, CLASSES))


def test_what_is_frozen_for_one_stage_learns_in_the_next(base: Path) -> None:
    stages = (taught(HINT, only=("body",)), taught(CeLoss(), only=("head",)), taught(CeLoss()))
    config = step(*stages, teacher=net("Deep"), student=net("Deep"))
    run(base, config, dataset(base, CLASSES))


@pytest.mark.parametrize(
    ("lesson", "message"),
    [
        (
            Lesson(
                "assistant 1", "assistant 1", {"teacher": "teacher"}, (HintLoss("bdy", "body"),)
            ),
            "assistant 1: layer bdy of the student: there is no such layer. Did you mean 'body'?",
        ),
        (
            Lesson("student stage 2", "student", {"teacher": "assistant 3"}, (HINT,)),
            "student stage 2: layer body of the teacher (assistant 3): there is no such layer. "
            "Layers: layer",
        ),
        (
            Lesson("student", "student", {"teacher": "student"}, (HintLoss("body", "layer"),)),
            "student: layer layer of the teacher (the generation before): there is no such layer. "
            "Layers: body, body.0, body.1, body.2, head",
        ),
        (
            taught(HintLoss("body", "layer"), teachers=(), learn_from="average"),
            "student: layer layer of the teacher (the student's average): there is no such layer. "
            "Layers: body, body.0, body.1, body.2, head",
        ),
        (
            Lesson("student", "student", {"teacher": "teacher"}, (), ("body", "heads")),
            "student: only: heads: there is no such layer. Did you mean 'head'?",
        ),
        (
            Lesson("student", "student", {"teacher": "teacher"}, (), ("body.2",)),
            "student: only: body.2: ReLU has no trainable parameters. Leave it out, or name a "
            "layer with weights",
        ),
        (
            Lesson("student stage 1", "student", {"teacher": "teacher"}, (HINT,), ("body", "head")),
            "student stage 1: only: head: no loss depends on it, so that it would learn nothing. "
            "Leave it out, or add a loss that depends on it",
        ),
        (
            # What brings 4 channels to 8 would learn alone.
            Lesson("student stage 1", "student", {"teacher": "teacher"}, (HINT,), ("head",)),
            "student stage 1: only: head: no loss depends on it, so that it would learn nothing. "
            "Leave it out, or add a loss that depends on it",
        ),
        (
            Lesson("student", "student", {"teacher": "assistant 1"}, (KdLoss(), HINT), ("head",)),
            "student: the loss hint body depends on nothing that learns. Leave it out, or let "
            "something learn that it depends on",
        ),
        (
            Lesson("teacher", "teacher", {}, (), ("neck",)),
            "teacher: only: neck: there is no such layer. Layers: body, body.0, body.1, body.2, "
            "head",
        ),
        (
            Lesson("assistant 2", "assistant 2", {"teacher": "teacher"}),
            "assistant 2: the teacher predicts [3] values per sample, the student [5]. Give both a "
            "prediction of one shape, or name the outputs that match with output:",
        ),
        (
            Lesson("assistant 1", "assistant 1", {"teacher": "teacher"}, top_k=3),
            "distill.cache.top_k: top_k keeps 3 of 3 classes. Lower it, or leave it out",
        ),
    ],
)
def test_what_cannot_be_learnt_in_a_chain(base: Path, lesson: Lesson, message: str) -> None:
    assistants = {"assistant 1": net("Deep"), "assistant 2": net(outputs=5), "assistant 3": net()}
    config = step(lesson, teacher=net("Deep", width=8), **assistants, student=net("Deep"))
    with pytest.raises(EdgestillError) as error:
        run(base, config, dataset(base, CLASSES))
    assert str(error.value) == message


def test_assistants_are_fed_and_named_as_the_others(base: Path) -> None:
    config = step(teacher=net(), **{"assistant 1": net(), "assistant 2": net("broken")})
    with pytest.raises(EdgestillError, match=r"^assistant 2: net.py:broken \(net.py:\d+\): broken"):
        run(base, config, dataset(base, CLASSES))
