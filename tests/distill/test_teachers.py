"""Several teachers of one student: whatever each of them is, it has its say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, TensorSpec
from edgestill.distill.config import CacheConfig, DistillConfig, DistillStep, RecordStep
from edgestill.distill.record import RecordInputs, record
from edgestill.distill.stage import DistillInputs, distill
from edgestill.errors import ModelError
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.export.stage import ExportInputs, export
from edgestill.models.config import ModelConfig
from edgestill.step import StepContext
from edgestill.train.config import AugmentConfig, LoadStep
from edgestill.train.losses.config import CeLoss, HintLoss, KdLoss, LossConfig, Tap
from edgestill.train.stage import LoadInputs, load
from edgestill.train.voices import TeacherWeights

pytestmark = pytest.mark.filterwarnings("ignore:# The axis name")

CODE = """\
from torch import nn

def net(width, positions=1, classes=10):
    layers = [
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(4 * width, classes * positions),
    ]
    if positions > 1:
        layers.append(nn.Unflatten(1, (classes, positions)))
    return nn.Sequential(*layers)
"""
ASKED = """\
import torch
from safetensors.torch import load_file
from net import net

model = net({width}, {positions}).eval()
model.load_state_dict(load_file("{weights}"))

def answers(batch):
    with torch.no_grad():
        return model(torch.from_numpy(batch["x"]).float()).double().numpy()
"""
COUNT, VIEWS, EPOCHS = 60, 2, 2
AUGMENT = AugmentConfig(crop=2, flip=True, mixup=0.4)
WIDTHS = {"teacher": 6, "wide": 9}
KD: tuple[LossConfig, ...] = (CeLoss(0.1), KdLoss(0.9))


@dataclass(frozen=True)
class School:
    """A student's data, two teachers with random weights, and what else may stand for them."""

    base: Path
    context: StepContext
    train: Dataset
    validation: Dataset
    positions: int

    def config(self, width: int, classes: int = 10) -> ModelConfig:
        arguments = {"width": width, "positions": self.positions, "classes": classes}
        return ModelConfig(model="net.py:net", arguments=arguments)

    def folder(self, name: str) -> Path:
        (self.base / name).mkdir()
        return self.base / name

    def checkpoint(self, name: str, classes: int = 10) -> Checkpoint:
        step = LoadStep(self.config(WIDTHS[name], classes), "classification", WIDTHS[name])
        return load(step, LoadInputs(self.train), self.folder(f"{name} {classes}"), self.context)

    def history(
        self,
        settings: Mapping[str, ModelConfig | None],
        weights: TeacherWeights | None,
        losses: tuple[LossConfig, ...] = KD,
        **inputs: Any,
    ) -> Any:
        """Each epoch's losses, one row an epoch, of a student of these teachers."""
        out = self.folder(f"student {len(list(self.base.iterdir()))}")
        schedule = DistillConfig(
            epochs=EPOCHS, batch_size=16, augment=AUGMENT, losses=losses, teachers=weights
        )
        step = DistillStep(
            self.config(2), dict(settings), schedule, "classification", "accuracy", 0, 2
        )
        (out / "work").mkdir()
        context = replace(self.context, work=out / "work")
        distill(step, DistillInputs(self.train, self.validation, **inputs), out, context)
        lines = (out / "log" / "history.jsonl").read_text("utf-8").splitlines()
        return np.array([list(json.loads(line)["losses"].values()) for line in lines])


def school(base: Path, positions: int) -> School:
    (base / "net.py").write_text(CODE, encoding="utf-8")
    (base / "work").mkdir()
    context = StepContext(base, base / "work", lambda share, words: None, lambda line: None)
    splits = [dataset(base, name, seed, positions) for seed, name in enumerate(("train", "val"))]
    return School(base, context, *splits, positions)


def dataset(base: Path, name: str, seed: int, positions: int) -> Dataset:
    rng = np.random.default_rng(seed)
    folder = base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", rng.integers(0, 255, (COUNT, 1, 6, 6), dtype=np.uint8))
    labels = rng.integers(0, 10, (COUNT, positions) if positions > 1 else COUNT)
    if name == "train":
        labels[::3] = -100  # one in three samples has none
    np.save(folder / "labels.npy", labels)
    np.save(folder / "ids.npy", np.sort(rng.integers(0, 2**63, COUNT).astype(np.uint64)))
    specs = (TensorSpec("x", "uint8", (None, 1, 6, 6)),)
    return Dataset.seal(folder, DatasetDescription(name, COUNT, "classification", specs))


@pytest.mark.parametrize(("positions", "weights"), [(1, "loss"), (4, "confidence")])
def test_it_is_all_the_same_what_a_teacher_is_and_whether_its_answers_were_kept(
    tmp_path: Path, positions: int, weights: TeacherWeights | None
) -> None:
    """A checkpoint, its ONNX model, its recording and a function that runs it, in one ensemble."""
    own = school(tmp_path, positions)
    models = {name: own.checkpoint(name) for name in WIDTHS}
    configs = {name: own.config(width) for name, width in WIDTHS.items()}
    live = own.history(configs, weights, teachers=models)

    step = RecordStep(
        configs["wide"], AUGMENT, CacheConfig(VIEWS, "float32"), True, (), "classification", 2
    )
    kept = record(step, RecordInputs(own.train, models["wide"]), own.folder("kept"), own.context)
    exported = export(
        ExportStep(configs["teacher"], ExportConfig(), "classification"),
        ExportInputs(models["teacher"], own.train),
        own.folder("onnx"),
        own.context,
    )
    file = ASKED.format(width=6, positions=positions, weights=models["teacher"].weights_path)
    (tmp_path / "asked.py").write_text(file, "utf-8")
    function = ModelConfig(function="asked.py:answers")
    others: list[tuple[dict[str, ModelConfig | None], dict[str, Any]]] = [
        ({**configs}, {"teachers": models, "recordings": {"wide": kept}}),
        ({**configs, "teacher": None}, {"teachers": {**models, "teacher": exported}}),
        (
            {**configs, "teacher": function},
            {"teachers": {"wide": models["wide"]}, "recordings": {"wide": kept}},
        ),
    ]
    for settings, inputs in others:
        np.testing.assert_allclose(own.history(settings, weights, **inputs), live, rtol=1e-4)

    # And each has a say.
    for name in WIDTHS:
        alone = own.history({name: configs[name]}, None, teachers={name: models[name]})
        assert not np.allclose(alone, live, rtol=1e-3)


def test_weights_say_how_much_each_counts(tmp_path: Path) -> None:
    own = school(tmp_path, 1)
    models = {name: own.checkpoint(name) for name in WIDTHS}
    configs = {name: own.config(width) for name, width in WIDTHS.items()}

    def learnt(weights: TeacherWeights | None, *names: str) -> Any:
        some = names or tuple(WIDTHS)
        return own.history({n: configs[n] for n in some}, weights, teachers=models)

    assert (learnt({"teacher": 0.2, "wide": 0.3}) == learnt({"teacher": 2, "wide": 3})).all()
    assert not np.allclose(learnt({"teacher": 3, "wide": 2}), learnt({"teacher": 2, "wide": 3}))
    # The teacher with 0 is left out, bit for bit.
    assert (learnt({"teacher": 1, "wide": 0}) == learnt(None, "teacher")).all()


def test_layers_of_a_teacher_without_a_voice_are_read(tmp_path: Path) -> None:
    """It predicts other classes, which nobody compares."""
    own = school(tmp_path, 1)
    models = {"teacher": own.checkpoint("teacher"), "wide": own.checkpoint("wide", 7)}
    configs = {"teacher": own.config(6), "wide": own.config(9, 7)}
    weights: TeacherWeights = {"teacher": 1.0, "wide": 0.0}
    losses: tuple[LossConfig, ...] = (KdLoss(), HintLoss("0", "wide:0"))
    live = own.history(configs, weights, losses, teachers=models)
    step = RecordStep(
        configs["wide"],
        AUGMENT,
        CacheConfig(VIEWS, "float32"),
        False,
        (Tap("0"),),
        "classification",
        2,
    )
    kept = record(step, RecordInputs(own.train, models["wide"]), own.folder("kept"), own.context)
    inputs = {"teachers": models, "recordings": {"wide": kept}}
    np.testing.assert_allclose(own.history(configs, weights, losses, **inputs), live, rtol=1e-4)
    of_teacher = (KdLoss(), HintLoss("0", "0"))
    assert not np.allclose(own.history(configs, weights, of_teacher, teachers=models), live)


def test_where_no_loss_compares_predictions_a_teacher_may_have_any(tmp_path: Path) -> None:
    own = school(tmp_path, 1)
    models, configs = {"wide": own.checkpoint("wide", 7)}, {"wide": own.config(9, 7)}
    losses: tuple[LossConfig, ...] = (CeLoss(), HintLoss("0", "wide:0"))
    found = own.history(configs, None, losses, teachers=models)
    assert found.shape == (EPOCHS, 2)
    assert (found[1] < found[0]).all(), "both are learnt"


@pytest.mark.parametrize("kept", [False, True], ids=["live", "recorded"])
def test_teachers_that_predict_different_shapes(tmp_path: Path, kept: bool) -> None:
    own = school(tmp_path, 1)
    models = {"teacher": own.checkpoint("teacher"), "wide": own.checkpoint("wide", 7)}
    configs = {"teacher": own.config(6), "wide": own.config(9, 7)}
    recordings, message = {}, "student: the teacher wide predicts [7] values per sample, the "
    message += "student [10]. Give both a prediction of one shape, or name the outputs that match "
    if kept:
        cache = CacheConfig(VIEWS)
        step = RecordStep(configs["wide"], AUGMENT, cache, True, (), "classification", 2)
        inputs = RecordInputs(own.train, models["wide"])
        recordings["wide"] = record(step, inputs, own.folder("kept"), own.context)
        message = "teacher wide: the teacher predicts [10] values per sample, the teacher wide "
        message += "[7]. Give all teachers a prediction of one shape, or name the outputs that "
        message += "match "
    with pytest.raises(ModelError) as error:
        own.history(configs, None, teachers=models, recordings=recordings)
    assert str(error.value) == message + "with output:"


def test_a_layer_that_a_further_teacher_does_not_have(tmp_path: Path) -> None:
    own = school(tmp_path, 1)
    models = {name: own.checkpoint(name) for name in WIDTHS}
    configs = {name: own.config(width) for name, width in WIDTHS.items()}
    with pytest.raises(ModelError) as error:
        own.history(configs, None, (HintLoss("0", "wide:layer"),), teachers=models)
    assert str(error.value) == (
        "layer layer of the teacher wide: there is no such layer. Layers: 0, 1, 2, 3, 4"
    )


def test_answers_of_a_function_are_kept_under_what_the_recipe_says_of_it(tmp_path: Path) -> None:
    own = school(tmp_path, 1)
    weights = own.checkpoint("teacher").weights_path
    (tmp_path / "asked.py").write_text(ASKED.format(width=6, positions=1, weights=weights), "utf-8")
    function = ModelConfig(function="asked.py:answers")
    cache = CacheConfig(VIEWS, "float32")
    step = RecordStep(function, AUGMENT, cache, True, (), "classification", 2)
    kept = record(step, RecordInputs(own.train), own.folder("kept"), own.context)
    live = own.history({"teacher": function}, None)
    found = own.history({"teacher": function}, None, recordings={"teacher": kept})
    np.testing.assert_allclose(found, live, rtol=1e-4)
    other = replace(function, files=("more.bin",))
    with pytest.raises(ModelError, match="the recorded answers are of another teacher"):
        own.history({"teacher": other}, None, recordings={"teacher": kept})
