"""A teacher's kept answers: those it gives live, found by sample and view, else refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, Recording, TensorSpec
from edgestill.data.arrays import load_ids, load_inputs
from edgestill.digest import canonical
from edgestill.distill import record as recording_stage
from edgestill.distill.config import CacheConfig, DistillConfig, DistillStep, RecordStep
from edgestill.distill.record import RecordInputs, record
from edgestill.distill.stage import DistillInputs, distill
from edgestill.errors import ModelError
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.export.stage import ExportInputs, export
from edgestill.models.config import ModelConfig
from edgestill.step import StepContext
from edgestill.train.config import AugmentConfig, LoadStep
from edgestill.train.losses.config import CeLoss, HintLoss, KdLoss, Tap
from edgestill.train.stage import LoadInputs, load, restore
from edgestill.train.teachers.live import LiveTeacher
from edgestill.train.teachers.recorded import RecordedTeacher
from edgestill.train.views import Views

CODE = """\
import torch
from torch import nn

def net(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(4 * width, 10),
    )
"""
COUNT = 60
AUGMENT = AugmentConfig(crop=2, flip=True, mixup=0.4)
TEACHER = ModelConfig(model="net.py:net", arguments={"width": 6})
STUDENT = ModelConfig(model="net.py:net", arguments={"width": 2})
LAYERS = (Tap("0"), Tap("0", "attention map"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def context(base: Path) -> StepContext:
    (base / "work").mkdir()
    return StepContext(base, base / "work", lambda share, words: None, lambda line: None)


def dataset(base: Path, name: str = "train", seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    folder = base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", rng.integers(0, 255, (COUNT, 1, 6, 6), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 10, COUNT))
    np.save(folder / "ids.npy", np.sort(rng.integers(0, 2**63, COUNT).astype(np.uint64)))
    specs = (TensorSpec("x", "uint8", (None, 1, 6, 6)),)
    return Dataset.seal(folder, DatasetDescription(name, COUNT, "classification", specs))


def teacher(base: Path, context: StepContext, train: Dataset, seed: int = 0) -> Checkpoint:
    out = base / f"teacher{seed}"
    out.mkdir()
    return load(LoadStep(TEACHER, "classification", seed), LoadInputs(train), out, context)


def step(**changes: Any) -> RecordStep:
    cache = CacheConfig(views=3, dtype="float32")
    whole = RecordStep(TEACHER, AUGMENT, cache, True, LAYERS, "classification", 2)
    return replace(whole, **changes)


def recorded(base: Path, context: StepContext, config: RecordStep, train: Dataset) -> Recording:
    out = base / "out"
    out.mkdir()
    return record(config, RecordInputs(train, teacher(base, context, train)), out, context)


def reader(recording: Recording, train: Dataset) -> RecordedTeacher:
    digest = recording.description.teacher
    return RecordedTeacher(recording, load_ids(train), digest, canonical(AUGMENT))


def test_kept_answers_are_those_of_the_teacher_in_any_order_and_view(
    base: Path, context: StepContext
) -> None:
    train = dataset(base)
    recording = recorded(base, context, step(), train)
    kept = reader(recording, train)
    model = restore(TEACHER, Checkpoint(base / "teacher0", ""), train, "classification", base)
    live = LiveTeacher(model, LAYERS)
    views = Views(AUGMENT, load_inputs(train), load_ids(train))
    for epoch in range(5):
        rows = np.random.default_rng(epoch).permutation(COUNT)[:17]
        view = kept.view_of(epoch)
        assert view == epoch % 3
        seen = views.of(rows, view, torch.device("cpu"))
        answer, expected = (
            kept.answer(seen.inputs, rows, view),
            live.answer(seen.inputs, rows, view),
        )
        torch.testing.assert_close(answer.logits, expected.logits)
        for tap in LAYERS:
            torch.testing.assert_close(answer.features[tap], expected.features[tap])
    assert not torch.equal(
        kept.answer(seen.inputs, rows, 0).logits, kept.answer(seen.inputs, rows, 1).logits
    )


@pytest.mark.parametrize("losses", [(CeLoss(0.1), KdLoss(0.9)), (HintLoss("0", "0"), KdLoss())])
def test_a_student_learns_the_same_from_kept_answers_as_from_the_teacher(
    base: Path, context: StepContext, losses: Any
) -> None:
    train, validation = dataset(base), dataset(base, "validation", 1)
    config = step(cache=CacheConfig(views=4, dtype="float32"), layers=LAYERS[:1])
    recording = recorded(base, context, config, train)
    checkpoint = Checkpoint(base / "teacher0", recording.description.teacher)
    inputs = DistillInputs(train, validation, {"teacher": checkpoint})
    live = history(base / "live", context, inputs, losses)
    kept = history(
        base / "kept", context, replace(inputs, recordings={"teacher": recording}), losses
    )
    for from_teacher, from_disk in zip(live, kept, strict=True):
        assert from_disk == pytest.approx(from_teacher, rel=1e-4)


def test_of_fewer_views_than_epochs_each_is_seen_again_by_both(
    base: Path, context: StepContext
) -> None:
    """By a student that hardly learns: each epoch's loss is that of its view."""
    train, validation = dataset(base), dataset(base, "validation", 1)
    config = step(cache=CacheConfig(views=2, dtype="float32"), layers=())
    kept = recorded(base, context, config, train)
    checkpoint = Checkpoint(base / "teacher0", kept.description.teacher)
    inputs = DistillInputs(train, validation, {"teacher": checkpoint}, {"teacher": kept})
    found = history(base / "kept", context, inputs, (KdLoss(),), learning_rate=1e-12)
    first, second, *again = [epoch["kd"] for epoch in found]
    assert again == pytest.approx([first, second], rel=1e-5)
    assert first != pytest.approx(second, rel=1e-3)


def history(
    out: Path, context: StepContext, inputs: DistillInputs, losses: Any, **changes: Any
) -> Any:
    """Each epoch's losses of a student that is distilled in the folder `out`."""
    schedule = DistillConfig(epochs=4, batch_size=16, augment=AUGMENT, losses=losses, **changes)
    model = TEACHER if isinstance(inputs.teachers["teacher"], Checkpoint) else None
    config = DistillStep(STUDENT, {"teacher": model}, schedule, "classification", "accuracy", 0, 2)
    (out / "work").mkdir(parents=True)
    distill(config, inputs, out, replace(context, work=out / "work"))
    lines = (out / "log" / "history.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 4
    return [json.loads(line)["losses"] for line in lines]


@pytest.mark.filterwarnings("ignore:# The axis name")
@pytest.mark.parametrize("batch", ["dynamic", 8])
def test_an_onnx_file_teaches_as_the_model_that_it_was_exported_from(
    base: Path, context: StepContext, batch: Any
) -> None:
    """Live and from its kept answers, on mixed views of bytes."""
    train, validation = dataset(base), dataset(base, "validation", 1)
    checkpoint, folder = teacher(base, context, train), base / "onnx"
    folder.mkdir()
    exported = ExportStep(TEACHER, ExportConfig(batch=batch), "classification")
    model = export(exported, ExportInputs(checkpoint, train), folder, context)
    config = step(teacher=None, cache=CacheConfig(views=4, dtype="float32"), layers=())
    (base / "recording").mkdir()
    recording = record(config, RecordInputs(train, model), base / "recording", context)
    inputs = DistillInputs(train, validation, {"teacher": model})
    losses = (CeLoss(0.1), KdLoss(0.9))
    torch_taught = replace(inputs, teachers={"teacher": checkpoint})
    expected = history(base / "torch", context, torch_taught, losses)
    live = history(base / "live", context, inputs, losses)
    kept = history(
        base / "kept", context, replace(inputs, recordings={"teacher": recording}), losses
    )
    for one, other, third in zip(expected, live, kept, strict=True):
        assert other == pytest.approx(one, rel=1e-4)
        assert third == pytest.approx(one, rel=1e-4)
    with pytest.raises(ModelError, match="the recorded answers are of another teacher"):
        history(
            base / "other",
            context,
            replace(torch_taught, recordings={"teacher": recording}),
            losses,
        )


def test_the_largest_logits_are_kept_and_the_others_share_what_is_left(
    base: Path, context: StepContext
) -> None:
    train = dataset(base)
    cache = CacheConfig(views=1, dtype="float32", top_k=3)
    recording = recorded(base, context, step(cache=cache, layers=()), train)
    rows = np.arange(COUNT)
    answer = reader(recording, train).answer([torch.zeros(1)], rows, 0).logits
    model = restore(TEACHER, Checkpoint(base / "teacher0", ""), train, "classification", base)
    seen = Views(AUGMENT, load_inputs(train), load_ids(train)).of(rows, 0, torch.device("cpu"))
    full = LiveTeacher(model, ()).answer(seen.inputs, rows, 0).logits
    values, classes = full.topk(3, dim=1)
    torch.testing.assert_close(answer.gather(1, classes), values)
    torch.testing.assert_close(
        answer.softmax(1).gather(1, classes), full.softmax(1).gather(1, classes)
    )
    highest = answer.scatter(1, classes, -torch.inf).amax(1)
    lowest = answer.scatter(1, classes, torch.inf).amin(1)
    assert torch.equal(highest, lowest)


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("float32", 4)])
def test_what_is_kept_takes_the_space_that_it_should(
    base: Path, context: StepContext, dtype: Any, size: int
) -> None:
    train = dataset(base)
    cache = CacheConfig(views=2, dtype=dtype, top_k=4)
    recording = recorded(base, context, step(cache=cache, layers=(Tap("0"),)), train)
    answer = reader(recording, train).answer([torch.zeros(1)], np.arange(COUNT), 0)
    for tensor in (answer.logits, *answer.features.values()):
        assert tensor.dtype == torch.float32, "what losses compute with"
    files = {
        file.relative_to(recording.path).as_posix(): len(np.load(file, mmap_mode="r").tobytes())
        for file in recording.path.rglob("*.npy")
    }
    for view in "01":
        assert files.pop(f"views/{view}/0.npy") == COUNT * 4 * size
        assert files.pop(f"views/{view}/0.rest.npy") == COUNT * size
        assert files.pop(f"views/{view}/0.kept.npy") == COUNT * 4 * 2
        assert files.pop(f"views/{view}/1.npy") == COUNT * 6 * 36 * size
    assert files == {}


def test_a_killed_recording_goes_on_with_the_view_it_was_at(
    base: Path, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_stage, "BATCH", COUNT // 4)
    train = dataset(base)
    whole = recorded(base, context, step(), train)
    told: list[str] = []

    def killed(share: float, words: str) -> None:
        told.append(words)
        if len(told) == 6:  # in the midst of the second view
            raise KeyboardInterrupt

    inputs = RecordInputs(train, Checkpoint(base / "teacher0", whole.description.teacher))
    elsewhere = replace(context, work=base / "other work", progress=killed)
    (base / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        record(step(), inputs, base / "again", elsewhere)
    again = record(step(), inputs, base / "again", elsewhere)
    assert told == [f"view {view}/3" for view in (1, 1, 1, 1, 2, 2, *[2] * 4, *[3] * 4)]
    assert again.digest == whole.digest
    # A result that could not be committed leaves its views to the next try.
    (base / "once more").mkdir()
    assert record(step(), inputs, base / "once more", elsewhere).digest == whole.digest
    assert len(told) == 14, "no view was asked about again"


def test_of_many_views_few_files_are_open(base: Path, context: StepContext) -> None:
    train = dataset(base)
    cache = CacheConfig(views=60, dtype="float32", top_k=3)
    kept = reader(recorded(base, context, step(cache=cache, layers=()), train), train)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for epoch in range(60):
        kept.answer([torch.zeros(1)], np.arange(3), kept.view_of(epoch))
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": "0" * 64}, "another teacher"),
        ({"augment": canonical(AugmentConfig(crop=3))}, "views made in another way"),
        ({"ids": np.arange(COUNT, dtype=np.uint64)}, "other samples"),
    ],
)
def test_answers_of_another_teacher_view_or_sample_are_refused(
    base: Path, context: StepContext, change: dict[str, Any], words: str
) -> None:
    train = dataset(base)
    recording = recorded(base, context, step(), train)
    given = {
        "ids": load_ids(train),
        "teacher": recording.description.teacher,
        "augment": canonical(AUGMENT),
    }
    with pytest.raises(ModelError) as error:
        RecordedTeacher(recording, **{**given, **change})
    assert str(error.value) == (
        f"{recording.path}: the recorded answers are of {words}. Record them again, for this "
        "teacher, train split and augment"
    )


def test_values_that_the_type_cannot_hold_are_refused(base: Path, context: StepContext) -> None:
    train = dataset(base)
    (base / "net.py").write_text(
        CODE.replace("nn.Flatten(),", "nn.Flatten(), nn.Threshold(1e30, 1e30),"), encoding="utf-8"
    )
    with pytest.raises(
        ModelError,
        match=r"distill.cache: the teacher's prediction has values that float16 cannot hold. Set "
        r"cache.dtype: float32, or look for extreme values",
    ):
        recorded(base, context, step(cache=CacheConfig()), train)


def test_all_classes_are_no_top_k(base: Path, context: StepContext) -> None:
    with pytest.raises(ModelError, match=r"distill.cache.top_k: top_k keeps 10 of 10 classes"):
        recorded(base, context, step(cache=CacheConfig(top_k=10)), dataset(base))
