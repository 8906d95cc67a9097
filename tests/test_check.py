"""The check step: what would stop a run later is found before any training."""

from __future__ import annotations

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
from edgestill.export.config import CheckStep, ExportConfig
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.onnx_file import tensor_specs
from edgestill.step import StepContext
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import (
    CeLoss,
    DkdLoss,
    HintLoss,
    KdLoss,
    LossConfig,
    MseLoss,
)

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


STEP = CheckStep(
    teachers={},
    student=net(),
    losses=(),
    export=ExportConfig(),
    task="classification",
    seed=0,
    trained=("student",),
    distilled=True,
)
CLASSES = np.arange(20) % 3


def run(
    base: Path,
    config: CheckStep,
    data: Dataset,
    teacher: OnnxModel | None = None,
    name: str = "teacher",
) -> str:
    out = base / "out"
    out.mkdir()
    context = StepContext(base, base / "work", lambda share, words: None, lambda line: None)
    check(config, CheckInputs(data, {name: teacher} if teacher else {}), out, context)
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
    config = replace(STEP, task=task, student=net(outputs=outputs, then="y * 2"))
    found = run(base, config, dataset(base, labels, task))
    assert found == f"student: predicts {shape}\n"


def test_teacher_and_student_that_fit_pass(base: Path) -> None:
    config = replace(STEP, teachers={"teacher": net()}, trained=("teacher", "student"))
    found = run(base, config, dataset(base, CLASSES))
    assert found == "teacher: predicts (3,)\nstudent: predicts (3,)\n"


@pytest.mark.parametrize("name", ["Around", "compiled"])
def test_wrappers_of_modules_pass(base: Path, name: str) -> None:
    run(base, replace(STEP, student=net(name)), dataset(base, CLASSES))


def test_labels_that_are_left_out_stop_nothing(base: Path) -> None:
    """All of the first samples have none."""
    labels = np.where(np.arange(20) < 10, -100, CLASSES)
    run(base, STEP, dataset(base, labels))


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
            r"student: the loss ce cannot be computed from predictions \[8, 4, 1\] and labels "
            r"\[8\] \(.*\). Look at the model's output, the task, the labels and the losses$",
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
        (CLASSES, 3, "(y, y)", r"student: the model has several outputs: output_0, output_1. Say"),
        (CLASSES, 3, "y.mean()", r"student: output logits is \[\] for 2 samples: its first axis"),
    ],
)
def test_a_student_that_cannot_learn(
    base: Path, labels: NDArray[Any], outputs: int, then: str, message: str
) -> None:
    config = replace(STEP, student=net(outputs=outputs, then=then))
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
    config = replace(
        STEP,
        trained=("teacher", "student"),
        teachers={"teacher": models["teacher"]},
        student=models["student"],
    )
    with pytest.raises(EdgestillError, match=f"^{role}: {message}"):
        run(base, config, dataset(base, CLASSES))


def test_teacher_and_student_of_different_shapes(base: Path) -> None:
    config = replace(STEP, teachers={"teacher": net(outputs=5)})
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
    config = replace(STEP, task=task, losses=losses, teachers={"teacher": net()})
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, config, dataset(base, labels, task))


@pytest.mark.parametrize("losses", [(), (KdLoss(), MseLoss())], ids=["the usual", "written"])
def test_a_student_may_learn_from_its_teacher_alone(
    base: Path, losses: tuple[LossConfig, ...]
) -> None:
    run(base, replace(STEP, losses=losses, teachers={"teacher": net()}), dataset(base, None))


@pytest.mark.parametrize(
    ("trained", "losses", "message"),
    [
        (("student",), (KdLoss(), CeLoss()), "student: the loss ce reads labels"),
        (("student",), (DkdLoss(),), "student: the loss dkd reads labels"),
        (("student",), (MseLoss(to="labels"),), "student: the loss mse to labels reads labels"),
        (("teacher", "student"), (KdLoss(),), "teacher: the loss ce reads labels"),
    ],
)
def test_losses_that_read_labels_that_are_not_there(
    base: Path, trained: tuple[str, ...], losses: tuple[LossConfig, ...], message: str
) -> None:
    config = replace(STEP, teachers={"teacher": net()}, trained=trained, losses=losses)
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
    run(base, replace(STEP, task="custom", student=student, trained=()), data)


def test_the_teacher_learns_from_labels_alone(base: Path) -> None:
    data = dataset(base, X[:, :2], "custom")
    config = replace(
        STEP,
        task="custom",
        teachers={"teacher": net()},
        losses=(MseLoss(),),
        trained=("teacher", "student"),
    )
    with pytest.raises(
        EdgestillError, match=r"^teacher: the loss mse to labels cannot be computed from"
    ):
        run(base, config, data)


def test_models_that_are_not_distilled_may_differ(base: Path) -> None:
    config = replace(STEP, teachers={"teacher": net(outputs=5)}, distilled=False)
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
    config = replace(STEP, teachers={"teacher": models["teacher"]}, student=models["student"])
    with pytest.raises(EdgestillError, match=rf"^{role}: (\S*net.py:\d+: )?{message}"):
        run(base, config, dataset(base, CLASSES))


def test_bytes_become_floats_before_the_loss(base: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4), np.uint8)
    config = replace(STEP, student=net(normalize=NormalizeConfig(255)))
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
    config, data = replace(STEP, losses=(KdLoss(),)), dataset(base, CLASSES)
    teacher = onnx_teacher(base, (4,))
    assert run(base, config, data, teacher) == "student: predicts (3,)\n"
    (base / "out" / "check.txt").unlink()
    (base / "out").rmdir()
    message = r"^student: the teacher predicts \[3\] values per sample, the student \[5\]. Give"
    with pytest.raises(EdgestillError, match=message):
        run(base, replace(config, student=net(outputs=5)), data, teacher)


def asked(base: Path, body: str) -> ModelConfig:
    """A teacher that is a function of this body."""
    (base / "asked.py").write_text(f"def answers(batch):\n    {body}\n", encoding="utf-8")
    return ModelConfig(function="asked.py:answers")


def test_several_teachers_are_asked_together(base: Path) -> None:
    """A model, an ONNX file and a function, weighed by labels of which one is missing."""
    labels = np.where(np.arange(20) == 3, -100, CLASSES)
    teachers = {"deep": asked(base, "return batch['x'][:, :3]"), "teacher": net()}
    config = replace(
        STEP,
        teachers=teachers,
        losses=(CeLoss(), HintLoss("layer", "teacher:layer"), KdLoss()),
        weights="loss",
    )
    found = run(base, config, dataset(base, labels), onnx_teacher(base, (4,)), "wide")
    assert found == (
        "teacher deep: predicts (3,)\nteacher: predicts (3,)\nstudent: predicts (3,)\n"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teachers": {"teacher": net(), "wide": net(outputs=5)}},
            r"student: the teacher wide predicts \[5\] values per sample, the student \[3\]. Give",
        ),
        (
            {"teachers": {"teacher": net(), "wide": net("broken")}},
            r"teacher wide: net.py:broken \(net.py:\d+\): broken\(\) raised RuntimeError: no such",
        ),
        (
            {
                "teachers": {"teacher": net(), "wide": net(frozen=True)},
                "trained": ("teacher wide", "student"),
            },
            r"teacher wide: its prediction depends on no trainable parameter",
        ),
        (
            {
                "teachers": {"teacher": net(), "wide": net()},
                "losses": (HintLoss("layer", "wide:layr"),),
            },
            r"student: layer layr of the teacher wide: there is no such layer. Did you mean 'layer",
        ),
        (
            {"teachers": {"teacher": net(), "wide": net(outputs=2)}, "weights": {"teacher": 1}},
            r"teacher wide: it predicts 2 classes, the labels have 3",
        ),
    ],
    ids=["other shape", "broken", "frozen", "no such layer", "too few classes"],
)
def test_a_further_teacher_that_does_not_fit(
    base: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgestillError, match=f"^{message}"):
        run(base, replace(STEP, **changes), dataset(base, CLASSES))


def test_a_teacher_that_nobody_hears_may_predict_something_else(base: Path) -> None:
    teachers = {"teacher": net(), "wide": net(outputs=5)}
    config = replace(STEP, teachers=teachers, losses=(KdLoss(), HintLoss("layer", "wide:layer")))
    run(base, replace(config, weights={"teacher": 1.0, "wide": 0.0}), dataset(base, CLASSES))


def test_teachers_weighed_by_labels_that_are_not_there(base: Path) -> None:
    config = replace(STEP, teachers={"teacher": net(), "wide": net()}, weights="loss")
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
@pytest.mark.parametrize("distilled", [True, False], ids=["teaches", "is compared with"])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_function_that_does_not_answer(
    base: Path, body: str, message: str, distilled: bool
) -> None:
    config = replace(STEP, teachers={"teacher": asked(base, body)}, distilled=distilled)
    with pytest.raises(EdgestillError, match=f"^teacher: {message}"):
        run(base, config, dataset(base, CLASSES))


def test_views_of_a_teachers_own_training_are_not_those_it_is_asked_about(base: Path) -> None:
    """Whole numbers will do for the file, although another teacher learns from mixed images."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), np.uint8)
    model = net(then="y.mean((1, 2))", normalize=NormalizeConfig(255))
    file = onnx_teacher(base, (1, 4, 4), TensorProto.UINT8)
    config = replace(
        STEP,
        student=model,
        teachers={"wide": model},
        losses=(CeLoss(),),
        augment=(AugmentConfig(mixup=1.0),),
    )
    with pytest.raises(EdgestillError, match=r"^student: the teacher predicts \[1, 4, 3\]"):
        run(base, config, dataset(base, CLASSES, x=pixels), file)


def test_an_onnx_teacher_of_whole_numbers_and_mixed_views(base: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), np.uint8)
    student = net(then="y.mean((1, 2))", normalize=NormalizeConfig(255))
    data = dataset(base, CLASSES, x=pixels)
    config = replace(STEP, student=student, losses=(CeLoss(),))
    mixing = replace(config, asked=AugmentConfig(cutmix=1.0))
    teacher = onnx_teacher(base, (1, 4, 4), TensorProto.UINT8)
    message = r"^teacher: its input x is uint8 and read by Slice, and mixed samples are fractions"
    with pytest.raises(EdgestillError, match=message):
        run(base, mixing, data, teacher)
