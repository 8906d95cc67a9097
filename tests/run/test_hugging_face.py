"""A run from a folder of the transformers library, as SST-2's teacher comes, to a release."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import onnxruntime
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from conftest import Project

torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")
transformers = pytest.importorskip("transformers", reason="pip install 'edgestill[transformers]'")

RECIPE = """\
name: small
threads: 1
data: {source: data.npz, split: {train: 0.4, calibration: 0.1, validation: 0.2, test: 0.3}}
teacher: {model: "hf:bert", pretrained: true}
student: {from: teacher, depth: 0.5}
distill: {epochs: 1, batch_size: 32, optimizer: adamw, learning_rate: 1e-3}
quantize: {budget: {accuracy_drop: 90pp}}
targets: [onnxruntime]
measure: {block: 2 ms}
gates: {agreement: {vs: student, at_least: 50%}}
"""


@pytest.fixture
def sentences(project_in: Callable[[Path], Project], tmp_path: Path) -> Project:
    """A classifier of padded sentences with random weights, and its own answers as labels."""
    project = project_in(tmp_path)
    project.recipe.write_text(RECIPE)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        num_labels=3,
        initializer_range=0.6,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(project.folder / "bert")
    rng = numpy.random.default_rng(0)
    mask = (numpy.arange(10) < rng.integers(3, 11, (300, 1))).astype(numpy.int64)
    ids = rng.integers(1, 40, (300, 10)) * mask
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits
    numpy.savez(
        project.folder / "data.npz",
        input_ids=ids,
        attention_mask=mask,
        token_type_ids=numpy.zeros_like(ids),
        label=logits.argmax(1).numpy(),
    )
    return project


def answers(model: Path, project: Project) -> NDArray[Any]:
    data = numpy.load(project.folder / "data.npz")
    session = onnxruntime.InferenceSession(model)
    feeds = {spec.name: data[spec.name] for spec in session.get_inputs()}
    return numpy.asarray(session.run(["logits"], feeds)[0])


def test_a_folder_teaches_a_student_of_half_its_depth(sentences: Project) -> None:
    report = sentences.run()
    hops = {hop.name: hop for hop in report.hops}
    assert hops["teacher torch"].score == 1.0
    drop, agreement = hops["teacher onnx"].largest_difference, hops["teacher onnx"].agreement
    assert drop is not None and drop < 1e-4 and agreement == 1.0
    int8 = hops["onnxruntime int8"]
    assert int8.agreement is not None and int8.agreement > 0.95
    teacher, student = report.models
    assert student.parameters < teacher.parameters  # type: ignore[operator]
    again = sentences.run()
    assert all(step.reused for step in again.steps)
    settings = sentences.folder / "bert" / "config.json"
    settings.write_text(settings.read_text().replace('"gelu"', '"relu"'))
    outdated = {step.name for step in sentences.run().steps if not step.reused}
    assert {"teacher", "student", "export teacher"} <= outdated and "data" not in outdated


@pytest.fixture
def exported(sentences: Project) -> Path:
    """What Optimum's exporter makes of the folder."""
    exporters = pytest.importorskip(
        "optimum.exporters.onnx", reason="pip install 'edgestill[transformers]'"
    )
    folder = sentences.folder / "exported"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it works with PyTorch's former exporter
        exporters.main_export(
            str(sentences.folder / "bert"),
            folder,
            task="text-classification",
            library_name="transformers",
        )
    return folder / "model.onnx"


def test_the_export_answers_as_that_of_optimum(sentences: Project, exported: Path) -> None:
    sentences.run("student={model: 'hf:bert', pretrained: true}", "teacher=null", "distill=null")
    ours = answers(sentences.release / "model" / "model.onnx", sentences)
    numpy.testing.assert_allclose(answers(exported, sentences), ours, atol=1e-4)


def test_what_optimum_exported_ships_as_it_is(sentences: Project, exported: Path) -> None:
    report = sentences.run(
        f"student={{onnx: {exported.relative_to(sentences.folder)}}}",
        "teacher=null",
        "distill=null",
        "gates={size: {at_most: 1 MB}}",
    )
    assert report.exit_code == 0
    shipped = sentences.release / "targets" / "onnxruntime" / "fp32" / "model.onnx"
    numpy.testing.assert_allclose(answers(shipped, sentences), answers(exported, sentences))
