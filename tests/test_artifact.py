"""Artifacts: what is sealed reads back as it was, with the digest of its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgestill.artifact import (
    Artifact,
    Checkpoint,
    CheckpointDescription,
    Dataset,
    DatasetDescription,
    Engine,
    EngineDescription,
    OnnxDescription,
    OnnxModel,
    Predictions,
    PredictionsDescription,
    Signature,
    TensorSpec,
)
from edgestill.digest import digest_folder
from edgestill.errors import StoreError

IMAGE = TensorSpec("image", "uint8", (None, 8, 8, 1))
LOGITS = TensorSpec("logits", "float32", (None, 10))
SIGNATURE = Signature((IMAGE,), (LOGITS,), "logits")

SEALED = [
    (Dataset, DatasetDescription("train", 4, "classification", (IMAGE,), ("a", "b"))),
    (Checkpoint, CheckpointDescription("model.py:student", "trained", 12, (0.5, 0.75), 1)),
    (OnnxModel, OnnxDescription(SIGNATURE, "int8", "cpu")),
    (
        Engine,
        EngineDescription(
            "openvino", "fp32", None, SIGNATURE, "model.xml", {"threads": 2}, {"cpu": "x86"}
        ),
    ),
    (Predictions, PredictionsDescription("torch", 4, ("logits", "box"), "logits")),
]


@pytest.mark.parametrize(
    ("view", "description"), SEALED, ids=lambda value: getattr(value, "kind", "")
)
def test_a_description_reads_back_as_it_was_sealed(
    view: type[Artifact[Any]], description: Any, tmp_path: Path
) -> None:
    sealed = view.seal(tmp_path, description)
    opened = view(tmp_path, sealed.digest)
    assert opened.description == description
    assert opened.digest == digest_folder(tmp_path)


def test_a_tensor_shows_name_dtype_and_free_sizes() -> None:
    assert str(IMAGE) == "image uint8 [?, 8, 8, 1]"


def test_views_know_where_their_files_are(tmp_path: Path) -> None:
    predictions = Predictions.seal(tmp_path, SEALED[-1][1])
    assert predictions.output_path("box") == tmp_path / "outputs" / "1.npy"
    dataset = Dataset.seal(tmp_path, SEALED[0][1])
    assert dataset.input_path("image") == tmp_path / "inputs" / "image.npy"


def test_an_engine_weighs_what_has_to_be_shipped(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"x" * 10)
    (tmp_path / "model.bin").write_bytes(b"x" * 30)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "compile.txt").write_bytes(b"x" * 500)
    assert Engine.seal(tmp_path, SEALED[3][1]).size_bytes == 40


@pytest.mark.parametrize("text", [None, "{}", "not json", '{"precision": "int8"}'])
def test_a_folder_of_another_kind_is_an_error_with_its_place(
    text: str | None, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "onnx.json").write_text(text)
    with pytest.raises(StoreError, match="not a readable onnx") as raised:
        _ = OnnxModel(tmp_path, "").description
    assert raised.value.where == str(tmp_path / "onnx.json")


def test_importing_artifacts_and_the_store_loads_nothing_heavy() -> None:
    code = (
        "import sys, edgestill.artifact, edgestill.store, edgestill.source_code\n"
        "print([name for name in ('numpy', 'pydantic', 'torch', 'filelock', 'asyncio',"
        " 'importlib.metadata') if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
