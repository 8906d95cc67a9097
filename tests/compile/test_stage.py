"""The compile stage: each target by its name, with its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.artifact import OnnxDescription, OnnxModel, Signature
from edgestill.compile.config import CompileStep
from edgestill.compile.stage import CompileInputs, compile
from edgestill.errors import ExportError
from edgestill.onnx_file import tensor_specs, write_model
from edgestill.step import StepContext
from edgestill.targets import get_target
from edgestill.targets.options import OnnxRuntimeOptions, OpenVinoOptions

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    """`logits = x @ WEIGHT`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    folder = tmp_path / "onnx"
    folder.mkdir()
    opsets = [helper.make_opsetid("", 20)]
    write_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder)
    read = onnx.load(folder / "model.onnx").graph
    signature = Signature(tensor_specs(read.input), tensor_specs(read.output), "logits")
    return OnnxModel.seal(folder, OnnxDescription(signature, "fp32"))


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(tmp_path, tmp_path / "work", lambda share, words: None, lambda line: None)


@pytest.mark.parametrize(
    ("target", "options", "library"),
    [
        ("onnxruntime", OnnxRuntimeOptions(), "onnxruntime"),
        ("openvino", OpenVinoOptions(inference_precision="f32"), "openvino"),
    ],
)
def test_an_engine_that_answers_as_the_model(
    tmp_path: Path, model: OnnxModel, context: StepContext, target: str, options: Any, library: str
) -> None:
    pytest.importorskip(library, reason=f"pip install 'edgestill[{target}]'")
    out = tmp_path / "engine"
    out.mkdir()
    config = CompileStep(target, "fp32", options)
    engine = compile(config, CompileInputs(model), out, context)
    assert engine.path == out
    assert engine.description.target == target
    assert engine.description.precision == "fp32"
    assert engine.description.signature == model.description.signature
    session = get_target(target).load(engine, threads=1)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(session.run({"x": x})["logits"], x @ WEIGHT, rtol=1e-5)
    session.close()


def test_a_precision_that_the_model_does_not_have(
    tmp_path: Path, model: OnnxModel, context: StepContext
) -> None:
    pytest.importorskip("onnxruntime")
    config = CompileStep("onnxruntime", "int8", OnnxRuntimeOptions())
    with pytest.raises(ExportError, match="int8 is made from an int8 model, this one is fp32"):
        compile(config, CompileInputs(model), tmp_path, context)
