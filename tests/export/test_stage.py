"""The export stage: from a checkpoint to an ONNX file that answers as torch does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgestill.artifact import Checkpoint, Dataset, OnnxModel, TensorSpec
from edgestill.errors import ExportError
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.export.stage import ExportInputs, export
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.step import StepContext
from edgestill.train import stage as training
from edgestill.train.config import LoadStep, TrainConfig, TrainStep
from edgestill.train.predict import predict

pytestmark = pytest.mark.filterwarnings("ignore:# The axis name")

MakeDataset = Callable[..., Dataset]

CODE = '''
from dataclasses import dataclass

import torch
from torch import nn


class ConvNet(nn.Module):
    """Images, channels first or last."""

    def __init__(self, last=False):
        super().__init__()
        self.last = last
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2) if self.last else x
        return self.head(self.body(x).mean((2, 3)))


class Reader(nn.Module):
    """Token ids, their mask and an image; answers for the text and for each token."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(11, 4)

    def forward(self, image, ids, mask):
        tokens = self.embedding(ids) * mask[..., None]
        both = torch.cat([tokens.sum(1), image.float().mean((2, 3))], 1)
        return {"tokens": tokens, "score": self.head(both)}


@dataclass
class Answer:
    loss: object = None
    logits: object = None
    states: tuple = ()


class Several(nn.Module):
    """Every kind of container that forward may return."""

    def __init__(self, kind="tuple"):
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        y = self.layer(x)
        if self.kind == "dataclass":
            return Answer(logits=y, states=(x * 2, y + 1))
        if self.kind == "dict":
            return {"output": y, "parts": [x + 1, {"deep": y * 2}]}
        return y, y.softmax(-1)
'''


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def images(count: int = 12, last: bool = False) -> np.ndarray:
    shape = (count, 6, 5, 3) if last else (count, 3, 6, 5)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def run(model: OnnxModel, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.model_path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in model.description.signature.outputs]
    return dict(zip(names, session.run(names, feeds), strict=True))


def step(model: str, export_config: ExportConfig | None = None, **config: object) -> ExportStep:
    resolved = ModelConfig(model=f"net.py:{model}", **config)  # type: ignore[arg-type]
    return ExportStep(resolved, export_config or ExportConfig(), "classification")


def built(config: ExportStep, dataset: Dataset, context: StepContext) -> Checkpoint:
    """The checkpoint of a model that brings its own weights."""
    out = context.base / "checkpoint"
    out.mkdir()
    load = LoadStep(config.model, config.task, seed=0)
    return training.load(load, training.LoadInputs(dataset), out, context)


def exported(config: ExportStep, dataset: Dataset, context: StepContext) -> OnnxModel:
    checkpoint = built(config, dataset, context)
    out = context.base / "onnx"
    out.mkdir()
    return export(config, ExportInputs(checkpoint, dataset), out, context)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_trained_model_with_device_input_and_a_free_batch(
    base: Path, context: StepContext, make_dataset: MakeDataset, last: bool
) -> None:
    normalize = NormalizeConfig(255, (0.5, 0.4, 0.3), (0.25, 0.5, 1.0))
    config = step("ConvNet", normalize=normalize, arguments={"last": last})
    dataset = make_dataset({"x": images(40, last)}, np.arange(40) % 4, classes=4)
    train = TrainStep(config.model, TrainConfig(epochs=2), config.task, "accuracy", 0, 2)
    (base / "checkpoint").mkdir()
    inputs = training.TrainInputs(dataset, dataset)
    checkpoint = training.train(train, inputs, base / "checkpoint", context)
    (base / "onnx").mkdir()
    model = export(config, ExportInputs(checkpoint, dataset), base / "onnx", context)

    signature = model.description.signature
    assert signature.inputs == (TensorSpec("x", "uint8", (None, *images(1, last).shape[1:])),)
    assert signature.outputs == (TensorSpec("logits", "float32", (None, 4)),)
    assert signature.prediction == "logits"
    assert model.description.precision == "fp32"
    restored = training.restore(config.model, checkpoint, dataset, config.task, base)
    expected = predict(restored, {"x": images(9, last)}, torch.device("cpu"))[0]
    assert expected.std() > 0.05
    for count in (1, 2, 5):
        answered = run(model, {"x": images(9, last)[:count]})["logits"]
        np.testing.assert_allclose(answered, expected[:count], atol=1e-5)
    graph = onnx.load(model.model_path).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    content = model.model_path.read_bytes()
    for trace in (str(base), "net.py", "site-packages", "pkg.torch", "pytorch"):
        assert trace.encode() not in content


def test_one_normalisation_for_all_channels(
    base: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    normalize = NormalizeConfig(255, (0.5,), (0.25,))
    dataset = make_dataset({"x": images()})
    model = exported(step("ConvNet", normalize=normalize), dataset, context)
    plain = step("ConvNet").model
    restored = training.restore(
        plain, Checkpoint(base / "checkpoint", ""), dataset, "classification", base
    )
    by_hand = ((images().astype(np.float32) / 255) - 0.5) / 0.25
    expected = restored.module(torch.from_numpy(by_hand)).detach()
    np.testing.assert_allclose(run(model, {"x": images()})["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("samples", [3, 12], ids=["fewer samples than the batch", "more"])
def test_a_fixed_batch(
    base: Path, context: StepContext, make_dataset: MakeDataset, samples: int
) -> None:
    dataset = make_dataset({"x": images(samples)})
    model = exported(step("ConvNet", ExportConfig(batch=4)), dataset, context)
    signature = model.description.signature
    assert [s.shape[0] for s in (*signature.inputs, *signature.outputs)] == [4, 4]
    assert run(model, {"x": images(4)})["logits"].shape == (4, 4)
    with pytest.raises(Exception, match="Got: 3 Expected: 4"):
        run(model, {"x": images(3)})


def test_several_inputs_and_outputs(
    base: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    ids = np.random.default_rng(1).integers(0, 20, (7, 6))
    feeds = {"image": images(7), "ids": ids, "mask": (ids > 4).astype(np.int64)}
    model = exported(step("Reader", output="score"), make_dataset(feeds), context)
    signature = model.description.signature
    assert [str(spec) for spec in signature.inputs] == [
        "image uint8 [?, 3, 6, 5]",
        "ids int64 [?, 6]",
        "mask int64 [?, 6]",
    ]
    assert [str(spec) for spec in signature.outputs] == [
        "tokens float32 [?, 6, 8]",
        "score float32 [?, 4]",
    ]
    assert signature.prediction == "score"
    together = run(model, feeds)
    alone = run(model, {name: array[3:4] for name, array in feeds.items()})
    np.testing.assert_allclose(alone["score"], together["score"][3:4], atol=1e-5)
    assert not together["tokens"][feeds["mask"] == 0].any()


@pytest.mark.parametrize(
    ("kind", "output", "names", "prediction"),
    [
        ("tuple", "output_1", ["output_0", "output_1"], "output_1"),
        ("dict", None, ["output", "parts_0", "parts_1_deep"], "output"),
        ("dataclass", None, ["logits", "states_0", "states_1"], "logits"),
    ],
)
def test_outputs_keep_the_names_that_forward_gives_them(
    base: Path,
    context: StepContext,
    make_dataset: MakeDataset,
    kind: str,
    output: str | None,
    names: list[str],
    prediction: str,
) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    config = step("Several", arguments={"kind": kind}, output=output)
    model = exported(config, make_dataset({"x": x}), context)
    signature = model.description.signature
    assert [spec.name for spec in signature.outputs] == names
    assert signature.prediction == prediction
    answers = run(model, {"x": x})
    if kind == "tuple":
        np.testing.assert_allclose(answers["output_1"].sum(-1), 1, atol=1e-5)
    if kind == "dict":
        np.testing.assert_allclose(answers["parts_1_deep"], answers["output"] * 2, atol=1e-6)
    if kind == "dataclass":
        np.testing.assert_allclose(answers["states_0"], x * 2, atol=1e-6)


def test_the_opset_of_the_recipe(
    base: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    x = np.ones((4, 5), np.float32)
    config = replace(step("Several", ExportConfig(opset=18)), task="regression")
    config = replace(config, model=replace(config.model, output="output_0"))
    model = exported(config, make_dataset({"x": x}, task="regression"), context)
    assert [o.version for o in onnx.load(model.model_path).opset_import if not o.domain] == [18]


SCRIPT = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from edgestill.artifact import Checkpoint, Dataset
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.export.stage import ExportInputs, export
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.step import StepContext
base, checkpoint, dataset = map(Path, sys.argv[1:4])
(base / "onnx").mkdir()
model = ModelConfig(model="net.py:ConvNet", normalize=NormalizeConfig(255))
step = ExportStep(model, ExportConfig(), "classification")
context = StepContext(base, base / "work", lambda share, words: None, lambda line: None)
inputs = ExportInputs(Checkpoint(checkpoint, ""), Dataset(dataset, ""))
print(export(step, inputs, base / "onnx", context).digest)
"""


def test_the_same_model_gives_the_same_bytes_in_another_process_and_folder(
    base: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset({"x": images()})
    config = step("ConvNet", normalize=NormalizeConfig(255))
    checkpoint = built(config, dataset, context)
    running = []
    for name, hash_seed in (("one", "1"), ("a folder with another name", "2")):
        folder = base / name
        folder.mkdir()
        # A line more: the line numbers that the exporter notes are others, the model is the same.
        (folder / "net.py").write_text(f"# {name}\n" * len(running) + CODE, encoding="utf-8")
        command = [sys.executable, "-c", SCRIPT, folder, checkpoint.path, dataset.path]
        running.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    digests = []
    for process in running:
        printed, complaints = process.communicate()
        assert process.returncode == 0, complaints
        digests.append(printed.splitlines()[-1])
    assert digests[0] == digests[1]
    here = base / "onnx"
    here.mkdir()
    assert export(config, ExportInputs(checkpoint, dataset), here, context).digest == digests[0]


def test_a_refused_model_leaves_no_artifact(
    base: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    (base / "net.py").write_text(
        CODE + "\n\nclass Random(Several):\n    def forward(self, x):\n"
        "        return nn.functional.dropout(self.layer(x), 0.5, training=True)\n",
        encoding="utf-8",
    )
    dataset = make_dataset({"x": np.ones((4, 5), np.float32)})
    with pytest.raises(ExportError, match=r"differs by .*Look in forward for randomness"):
        exported(step("Random"), dataset, context)
    assert not (base / "onnx" / "onnx.json").exists()
