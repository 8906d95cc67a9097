"""A teacher given as an ONNX file: a black box that ONNX Runtime asks, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import OnnxModel, TensorSpec
from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.onnx_file import graphs
from edgestill.train.predict import Arrays
from edgestill.train.teachers.black_box import BlackBox, few
from edgestill.train.views import Rows
from edgestill.train.voices import TEACHER

_ERRORS_ONLY = 3


class OnnxTeacher(BlackBox):
    """An ONNX model that takes the device input.

    Args:
        arrays: the inputs of the samples that it will be asked about, each `[n, ...]`.
        mixed: the input whose values are blended from two samples, if one is: they are floats,
            whatever the samples are.
        role: what messages call it.

    Raises:
        ModelError: its prediction is no floats or not steady, or the mixed input has to be whole
            numbers.
    """

    def __init__(
        self,
        model: OnnxModel,
        arrays: Arrays,
        threads: int,
        mixed: str | None,
        role: str = TEACHER,
    ) -> None:
        signature = model.description.signature
        self._prediction = signature.prediction
        self._batch = signature.inputs[0].shape[0]
        self._dtypes = {spec.name: numpy.dtype(spec.dtype) for spec in signature.inputs}
        self._names = tuple(arrays)  # in the data's order; the file may have another
        self.role = role
        _require_floats(next(s for s in signature.outputs if s.name == signature.prediction), role)
        source: str | bytes = str(model.model_path)
        if mixed is not None and self._dtypes[mixed].kind != "f":
            source = _fed_floats(model.model_path, mixed, self._dtypes[mixed].name, role)
            self._dtypes[mixed] = numpy.dtype(numpy.float32)
        self._session = _session(source, model.path, threads)
        advice = "Export it in eval mode: look for dropout, and for statistics over the batch"
        super().__init__(few(arrays), advice)

    def ask(self, inputs: list[NDArray[Any]]) -> NDArray[numpy.float32]:
        count = len(inputs[0])
        size = self._batch or count
        answers = []
        for start in range(0, count, size):
            # A fixed batch is filled up with the last sample, and its answers are dropped.
            rows = numpy.minimum(numpy.arange(start, start + size), count - 1)
            answers.append(self._run(inputs, rows)[: count - start])
        return numpy.concatenate(answers).astype(numpy.float32, copy=False)

    def _run(self, inputs: list[NDArray[Any]], rows: Rows) -> NDArray[Any]:
        feeds = {
            name: array[rows].astype(self._dtypes[name], copy=False)
            for name, array in zip(self._names, inputs, strict=True)
        }
        try:
            (answer,) = self._session.run([self._prediction], feeds)
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run it on {len(rows)} sample{'s' * (len(rows) > 1)} "
                f"({_first_line(error)})",
                where=self.role,
                fix="Export it for any batch size, or for one that is fixed",
            ) from error
        return answer  # type: ignore[no-any-return]


def _require_floats(prediction: TensorSpec, role: str) -> None:
    if not numpy.issubdtype(numpy.dtype(prediction.dtype), numpy.floating):
        raise ModelError(
            f"its output {prediction} is no floats, and a student learns from logits or values",
            where=role,
            fix="Name the output that has them with teacher.output",
        )


def _session(source: str | bytes, folder: Path, threads: int) -> Any:
    runtime = require("onnxruntime", extra="build")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = _ERRORS_ONLY
    # Between its calls the student needs the cores.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Of a graph that comes as bytes, nothing else says where its weights lie.
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return runtime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])


def _fed_floats(path: Path, name: str, dtype: str, role: str) -> bytes:
    """The graph with the input `name` as float32 in place of whole numbers.

    Raises:
        ModelError: something else than a cast to floats reads it.
    """
    onnx = require("onnx", extra="build")
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    model = onnx.load(str(path), load_external_data=False)
    nodes = [node for part in graphs(model.graph) for node in part.node]
    for node in [node for node in nodes if name in node.input]:
        if node.op_type != "Cast" or node.attribute[0].i not in (*floats, onnx.TensorProto.DOUBLE):
            raise ModelError(
                f"its input {name} is {dtype} and read by {node.op_type}, and mixed samples are "
                "fractions",
                where=role,
                fix="Leave mixup and cutmix out of distill.augment, or give a file that begins "
                "with a cast to float",
            )
    value = next(value for value in model.graph.input if value.name == name)
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model.SerializeToString()  # type: ignore[no-any-return]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
