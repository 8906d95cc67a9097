"""What a user brings: photographs as parquet, a model file of their own, a trained teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.api.run import run_recipe
from edgestill.errors import ExitCode

SHARED = Path(__file__).parents[3] / "shared"
NEEDED = [
    SHARED / "data" / "cifar10" / "train.parquet",
    SHARED / "models" / "cifar_resnet_teacher.safetensors",
]

pytestmark = pytest.mark.skipif(
    not all(file.is_file() for file in NEEDED),
    reason="CIFAR-10 and its teacher are not in ../shared (data/cifar10, models/cifar_resnet.py)",
)

RECIPE = f"""\
name: cifar
threads: 2
data:
  source: {{train: {SHARED}/data/cifar10/train.parquet, test: {SHARED}/data/cifar10/test.parquet}}
  limit: 2000
teacher:
  model: "{SHARED}/models/cifar_resnet.py:teacher"
  weights: {SHARED}/models/cifar_resnet_teacher.safetensors
  normalize: &rgb {{range: 255, mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616]}}
student: {{model: "{SHARED}/models/cifar_resnet.py:student", normalize: *rgb}}
distill: {{epochs: 2, batch_size: 64}}
quantize: {{samples: 100}}
targets: [{{target: onnxruntime}}, {{target: openvino}}]
measure: {{rounds: 12, block: 5 ms}}
gates: {{speedup: {{over: teacher, at_least: 1.5x}}, size: {{at_most: 1 MB}}}}
"""


@pytest.mark.slow
def test_a_cifar_student_is_distilled_from_a_trained_teacher(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
    report = run_recipe(
        str(tmp_path / "recipe.yaml"), store=tmp_path / "store", out=tmp_path / "release"
    )
    scores = {hop.name: hop.score for hop in report.hops}
    assert report.splits["test"] == 2000
    # The teacher's weights and normalisation are those that it was trained with (0.885 on all).
    assert 0.86 < (scores["teacher torch"] or 0.0) < 0.91
    assert abs((scores["teacher torch"] or 0.0) - (scores["teacher onnx"] or 1.0)) < 0.002
    assert (scores["student torch"] or 0.0) > 0.25  # two epochs of 1,600 images; chance is 0.1
    assert report.exit_code is ExitCode.PASSED, list(report.gates)
    assert "The teacher came trained" in report.notes[0]
