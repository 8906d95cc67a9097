"""The table of targets: readable without a runtime, and wrong entries are said in words."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from edgestill.errors import UsageError
from edgestill.targets import TARGETS, TargetSpec, get_target
from edgestill.targets.options import (
    OnnxRuntimeOptions,
    OpenVinoOptions,
    TensorRtOptions,
    TensorRtRtxOptions,
)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("openvin", "Did you mean openvino? Known targets: {known}"),
        ("onnx-runtime", "Did you mean onnxruntime? Known targets: {known}"),
        ("tensorrt_rtx", "Did you mean tensorrt-rtx? Known targets: {known}"),
        ("coral", "Known targets: {known}"),
        ("", "Known targets: {known}"),
    ],
)
def test_an_unknown_target_is_refused_with_the_nearest(name: str, fix: str) -> None:
    with pytest.raises(UsageError) as raised:
        get_target(name)
    known = "onnxruntime, openvino, tensorrt-rtx, tensorrt"
    assert str(raised.value) == f"'{name}' is not a known target. {fix.format(known=known)}"


@pytest.mark.parametrize("name", TARGETS)
def test_each_row_leads_to_a_class_that_knows_its_name(name: str) -> None:
    spec = TARGETS[name]
    module, _, attribute = spec.class_path.partition(":")
    target = get_target(name)
    assert type(target) is getattr(import_module(module), attribute)
    assert target.name == name
    assert spec.options() == spec.options()
    assert len(spec.precisions) == len(set(spec.precisions))


def test_what_is_not_installed_has_no_version() -> None:
    spec = TargetSpec("m:C", OnnxRuntimeOptions, (), "cpu", "m", "edgestill-no-such-thing", "m")
    assert spec.version == ""


def test_a_runtime_that_another_distribution_brings_has_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sparkrun_gpu-1.22.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: sparkrun-gpu\nVersion: 1.22.0\n")
    (folder / "RECORD").write_text("sparkrun/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = TargetSpec("m:C", OnnxRuntimeOptions, (), "cpu", "sparkrun", "sparkrun", "m")
    assert spec.version == "1.22.0"


@pytest.mark.parametrize("spec", TARGETS.values(), ids=TARGETS)
def test_a_runtime_is_found_by_its_distribution_and_by_its_module(spec: TargetSpec) -> None:
    assert spec.module == spec.distribution.replace("-", "_")


def test_each_extra_is_one_of_the_package() -> None:
    extras = metadata.metadata("edgestill").get_all("Provides-Extra") or []
    assert {spec.extra for spec in TARGETS.values()} <= set(extras)


LISTING = """
import sys
from edgestill.targets import TARGETS
print([spec.version for spec in TARGETS.values()], *sys.modules, sep="\\n")
"""


def test_reading_the_table_loads_no_runtime_and_no_numpy() -> None:
    command = [sys.executable, "-c", LISTING]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "edgestill" in loaded
    assert not loaded & {"numpy", "pydantic", *(spec.module for spec in TARGETS.values())}


@pytest.mark.parametrize(
    ("options", "given", "text"),
    [
        (OnnxRuntimeOptions, {"threads": 2}, "threads\n  Unexpected keyword argument"),
        (OpenVinoOptions, {"inference_precision": "f16"}, "Input should be 'f32' or 'bf16'"),
        (OpenVinoOptions, {"precision": "f32"}, "precision\n  Unexpected keyword argument"),
        (TensorRtOptions, {"max_batch": 0}, "max_batch is 0, it has to be 1 or more"),
        (TensorRtOptions, {"compute_capability": [8.6]}, "compute_capability\n  Unexpected"),
        (TensorRtRtxOptions, {"max_batch": -1}, "max_batch is -1, it has to be 1 or more"),
        (TensorRtRtxOptions, {"max_batch": 1.5}, "max_batch\n  Input should be a valid integer"),
        (TensorRtRtxOptions, {"compute_capability": ["sm86"]}, "compute_capability.0\n  Input"),
    ],
)
def test_options_are_validated(options: type[Any], given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(options).validate_python(given)
    assert text in str(raised.value)


def test_options_are_what_was_given() -> None:
    given = {"compute_capability": [8.6, 8.9], "max_batch": 1}
    found = TypeAdapter(TensorRtRtxOptions).validate_python(given)
    assert found == TensorRtRtxOptions((8.6, 8.9), 1)
