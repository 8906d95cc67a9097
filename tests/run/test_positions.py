"""Tasks that classify each position of a sample, pixels and tokens, through whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
import pytest

import edgestill

if TYPE_CHECKING:
    from conftest import Project

BRIEF = (
    *("quantize=null", "gates=null"),
    *("teacher.train.learning_rate=1", "teacher.train.epochs=10"),
    *("distill.learning_rate=1", "distill.epochs=10"),
)

MASKS = """\
from torch import nn


def teacher():
    return nn.Conv2d(1, 1, 1)


student = teacher
"""

TAGS = """\
from torch import nn


def teacher():
    return nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 3))


student = teacher
"""


def test_a_mask_of_one_logit_a_pixel(new_project: Project) -> None:
    with new_project.arrays() as arrays:
        bright = arrays["image"] > 100
        arrays["label"] = bright.astype(numpy.uint8)
    (new_project.folder / "model.py").write_text(MASKS, "utf-8")
    report = new_project.run(*BRIEF, "targets=[{target: onnxruntime, precision: fp32}]")
    with edgestill.load(new_project.release) as session:
        images = numpy.load(new_project.release / "evaluation" / "inputs" / "image.npy")
        (logits,) = session.run(images).values()
    right = (logits > 0) == (images > 100)
    assert right.mean() > 0.9
    (score,) = [hop.score for hop in report.hops if hop.name == "onnxruntime fp32"]
    assert score == pytest.approx(right.mean(), abs=1e-9)


def test_tags_of_tokens_with_their_classes_on_the_last_axis(new_project: Project) -> None:
    with new_project.arrays() as arrays:
        del arrays["image"]
        arrays["ids"] = numpy.random.default_rng(0).integers(0, 9, (400, 6))
        arrays["label"] = numpy.array(["place", "person", "other"])[arrays["ids"] % 3]
    (new_project.folder / "model.py").write_text(TAGS, "utf-8")
    new_project.replace("recipe.yaml", "normalize: {range: 255}", "classes: last")
    report = new_project.run(*BRIEF, "targets=null")
    hops = {hop.name: hop.score for hop in report.hops}
    assert (hops["student torch"] or 0) > 0.9
    assert hops["student onnx"] == hops["student torch"]
