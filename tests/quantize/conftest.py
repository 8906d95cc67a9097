"""What the tests of quantization share: float ONNX models made by hand, and datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    OnnxDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
from edgestill.onnx_file import tensor_specs, write_model

Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Arrays], Dataset]:
    """Writes a dataset of the given arrays."""

    def make(inputs: Arrays) -> Dataset:
        folder = tmp_path_factory.mktemp("data")
        (folder / "inputs").mkdir()
        for name, array in inputs.items():
            np.save(folder / "inputs" / f"{name}.npy", array)
        specs = tuple(
            TensorSpec(name, array.dtype.name, (None, *array.shape[1:]))
            for name, array in inputs.items()
        )
        count = len(next(iter(inputs.values())))
        return Dataset.seal(folder, DatasetDescription("calibration", count, "custom", specs))

    return make


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OnnxModel]:
    """Writes a float model of the given nodes; its only output is `logits`."""

    def make(
        nodes: Sequence[tuple[Any, ...]],
        inputs: Mapping[str, tuple[Any, ...]],
        weights: Arrays,
        answer: tuple[Any, ...],
    ) -> OnnxModel:
        made = [
            helper.make_node(kind, list(read), [written], name=f"node_{written}", **attributes)
            for kind, read, written, attributes in nodes
        ]
        kinds = {
            "i": TensorProto.INT64,
            "f": TensorProto.FLOAT,
            "h": TensorProto.FLOAT16,
            "d": TensorProto.DOUBLE,
        }
        graph = helper.make_graph(
            made,
            "graph",
            [helper.make_tensor_value_info(n, kinds[s[0]], s[1:]) for n, s in inputs.items()],
            [helper.make_tensor_value_info("logits", kinds[answer[0]], answer[1:])],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        folder = tmp_path_factory.mktemp("model")
        write_model(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
            folder,
        )
        read = onnx.load(folder / "model.onnx").graph
        signature = Signature(tensor_specs(read.input), tensor_specs(read.output), "logits")
        return OnnxModel.seal(folder, OnnxDescription(signature, "fp32"))

    return make
