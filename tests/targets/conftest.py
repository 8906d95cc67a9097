"""Small real models, data and engines that the tests of targets share."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    Engine,
    OnnxDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
from edgestill.onnx_file import write_model
from edgestill.step import StepContext
from edgestill.targets import TARGETS, get_target, loop, modes
from edgestill.targets.measure import Candidate, predict
from edgestill.targets.nvml import engines_gpu
from edgestill.targets.options import TensorRtRtxOptions

onnx = pytest.importorskip("onnx", reason="pip install 'edgestill[build]'")

from onnx import helper, numpy_helper  # noqa: E402

Arrays = Mapping[str, NDArray[Any]]
MakeOnnx = Callable[..., OnnxModel]
MakeDataset = Callable[[Arrays], Dataset]
Build = Callable[..., Engine]

IMAGE = TensorSpec("image", "uint8", (None, 3, 8, 8))
TOKENS = TensorSpec("tokens", "int64", (None, 6))
FEATURES = TensorSpec("features", "float32", (None, 6, 5))


@pytest.fixture(scope="session")
def make_onnx(tmp_path_factory: pytest.TempPathFactory) -> MakeOnnx:
    """An ONNX artifact of nodes `(operator, inputs, outputs, attributes)`."""

    def value(spec: TensorSpec) -> Any:
        names = [f"free_{axis}" if size is None else size for axis, size in enumerate(spec.shape)]
        return helper.make_tensor_value_info(
            spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), names
        )

    def make(
        nodes: Sequence[tuple[str, str, str, dict[str, Any]]],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        weights: Arrays | None = None,
        precision: str = "fp32",
        scheme: str | None = None,
    ) -> OnnxModel:
        graph = helper.make_graph(
            [helper.make_node(op, a.split(), b.split(), **more) for op, a, b, more in nodes],
            "graph",
            [value(spec) for spec in inputs],
            [value(spec) for spec in outputs],
            [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        folder = tmp_path_factory.mktemp("onnx")
        write_model(model, folder)
        signature = Signature(tuple(inputs), tuple(outputs), outputs[0].name)
        return OnnxModel.seal(folder, OnnxDescription(signature, precision, scheme))

    return make


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> MakeDataset:
    """A dataset artifact of arrays `[n, ...]`."""

    def make(arrays: Arrays) -> Dataset:
        folder = tmp_path_factory.mktemp("dataset")
        (folder / "inputs").mkdir()
        for name, array in arrays.items():
            np.save(folder / "inputs" / f"{name}.npy", array)
        specs = tuple(
            TensorSpec(name, array.dtype.name, (None, *array.shape[1:]))
            for name, array in arrays.items()
        )
        count = len(next(iter(arrays.values())))
        return Dataset.seal(folder, DatasetDescription("test", count, "classification", specs))

    return make


@pytest.fixture(scope="session")
def image_model(make_onnx: MakeOnnx) -> OnnxModel:
    """A network of two convolutions that is fed bytes, with a free batch."""
    rng = np.random.default_rng(0)
    weights = {
        "range": np.array(1 / 255, np.float32),
        "kernel": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "bias": rng.normal(0, 0.1, 8).astype(np.float32),
        "kernel2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
        "head": rng.normal(0, 0.1, (4, 128)).astype(np.float32),
        "head_bias": rng.normal(0, 0.1, 4).astype(np.float32),
    }
    nodes = [
        ("Cast", "image", "float", {"to": onnx.TensorProto.FLOAT}),
        ("Mul", "float range", "scaled", {}),
        ("Conv", "scaled kernel bias", "c", {"pads": [1] * 4, "name": "first"}),
        ("Relu", "c", "r", {}),
        ("Conv", "r kernel2", "c2", {"pads": [1] * 4, "name": "second"}),
        ("Relu", "c2", "r2", {}),
        ("MaxPool", "r2", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", "p", "flat", {}),
        ("Gemm", "flat head head_bias", "logits", {"transB": 1, "name": "head"}),
    ]
    return make_onnx(nodes, [IMAGE], [TensorSpec("logits", "float32", (None, 4))], weights)


@pytest.fixture(scope="session")
def token_model(make_onnx: MakeOnnx) -> OnnxModel:
    """Two inputs and two outputs of different types, in an order that is nobody's natural one.

    The later input is used first, and the earlier output is computed last.
    """
    rng = np.random.default_rng(1)
    weights = {
        "table": rng.normal(size=(20, 5)).astype(np.float32),
        "mixing": rng.normal(size=(5, 5)).astype(np.float32),
    }
    nodes = [
        ("Sigmoid", "features", "gates", {}),
        ("Gather", "table tokens", "embedded", {"axis": 0}),
        ("Mul", "embedded gates", "gated", {}),
        ("MatMul", "gated mixing", "mixed", {}),
        ("ArgMax", "mixed", "best", {"axis": 2, "keepdims": 0}),
        ("Tanh", "mixed", "states", {}),
    ]
    outputs = [
        TensorSpec("states", "float32", (None, 6, 5)),
        TensorSpec("best", "int64", (None, 6)),
    ]
    return make_onnx(nodes, [TOKENS, FEATURES], outputs, weights)


@pytest.fixture(scope="session")
def images(make_dataset: MakeDataset) -> Dataset:
    rng = np.random.default_rng(2)
    return make_dataset({"image": rng.integers(0, 256, (50, 3, 8, 8), np.uint8)})


@pytest.fixture(scope="session")
def quantized(
    image_model: OnnxModel, images: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], OnnxModel]:
    """The image model in int8, made by our own stage, one for each scheme."""
    pytest.importorskip("nncf", reason="pip install 'edgestill[build]'")
    from edgestill.quantize.config import QuantizeStep
    from edgestill.quantize.stage import QuantizeInputs, quantize

    made: dict[str, OnnxModel] = {}

    def make(scheme: str) -> OnnxModel:
        if scheme not in made:
            folder = tmp_path_factory.mktemp("quantized")
            (folder / "out").mkdir()
            context = StepContext(folder, folder, lambda share, words: None, lambda line: None)
            inputs = QuantizeInputs(image_model, images)
            made[scheme] = quantize(QuantizeStep(50, scheme), inputs, folder / "out", context)
        return made[scheme]

    return make


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles with the target's defaults, or for other GPUs where there is none."""

    def build(target: str, model: OnnxModel, precision: str = "fp32") -> Engine:
        options, found = TARGETS[target].options(), get_target(target).probe()
        if found.can_compile and not found.can_run:
            options = TensorRtRtxOptions(compute_capability=(8.6, 8.9))
        out = tmp_path_factory.mktemp("engine")
        return get_target(target).compile(model, precision, options, out)

    return build


@pytest.fixture(scope="session")
def built(build: Build) -> Build:
    """The same, each engine once."""
    return functools.cache(build)


@pytest.fixture(scope="session")
def plain_answer() -> Callable[[OnnxModel, Arrays], Arrays]:
    """What ONNX Runtime makes of the ONNX file as it stands, with nothing optimised."""
    ort = pytest.importorskip("onnxruntime", reason="pip install 'edgestill[onnxruntime]'")

    def answer(model: OnnxModel, feeds: Arrays) -> Arrays:
        settings = ort.SessionOptions()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.log_severity_level = 3
        session = ort.InferenceSession(
            str(model.model_path), settings, providers=["CPUExecutionProvider"]
        )
        names = [spec.name for spec in model.description.signature.outputs]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return answer


OBEDIENT = """
import sys
from pathlib import Path

# The real one is what the path gives without this folder.
here = Path(__file__).parent
sys.path.remove(str(here))
del sys.modules["onnxruntime"]
import onnxruntime
from onnxruntime import InferenceSession


class Session(InferenceSession):
    def run(self, names, feeds):
        exec((here / "deed.py").read_text(), {"feeds": feeds, "here": here})
        return super().run(names, feeds)


onnxruntime.InferenceSession = Session
"""


@pytest.fixture(scope="module")
def obedient_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runtime")
    (folder / "onnxruntime.py").write_text(OBEDIENT)
    (folder / "deed.py").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder / "deed.py"


@pytest.fixture
def deed(obedient_runtime: Path) -> Iterator[Path]:
    """A file of code that ONNX Runtime executes before each call, in processes started from now on.

    The code has the call's `feeds`, and `here`, the folder of the file.
    """
    yield obedient_runtime
    obedient_runtime.write_text("")


@pytest.fixture(scope="session")
def doubling(make_onnx: MakeOnnx) -> OnnxModel:
    """`y = 2 x` of two numbers, with a free batch."""
    x, y = (TensorSpec(name, "float32", (None, 2)) for name in "xy")
    return make_onnx([("Mul", "x two", "y", {})], [x], [y], {"two": np.array(2, np.float32)})


@pytest.fixture(scope="session")
def numbers(make_dataset: MakeDataset) -> Dataset:
    """100 samples of two numbers; sample n begins with n."""
    first = np.arange(100, dtype=np.float32)
    return make_dataset({"x": np.stack([first, -first], axis=1)})


@pytest.fixture(scope="session")
def ort(
    built: Build, doubling: OnnxModel, numbers: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Candidate:
    """The doubling model in ONNX Runtime, with what it answers on the numbers."""
    engine = built("onnxruntime", doubling)
    answers = predict(engine, numbers, tmp_path_factory.mktemp("predictions"), threads=1)
    return Candidate("ort", engine, answers)


class TimedSession:
    """Multiplies its input; each call moves its clock by the next of the given times."""

    signature = Signature(
        (TensorSpec("x", "float32", (None, 2)),), (TensorSpec("y", "float32", (None, 2)),), "y"
    )

    def __init__(self, times_ns: Iterable[int], tick_ns: int, factor: int) -> None:
        self.now = 0
        self.fed: list[float] = []
        self._times = iter(times_ns)
        self._tick_ns = tick_ns
        self._factor = factor

    def clock(self) -> int:
        self.now += self._tick_ns
        return self.now

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        self.now += next(self._times)
        self.fed.append(float(feeds["x"][0, 0]))
        return {"y": self._factor * feeds["x"]}

    def another(self) -> TimedSession:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TimedSession]:
    """A session whose clock the loop reads; each look at it takes `tick_ns`."""

    def start(times_ns: Iterable[int], tick_ns: int = 0, factor: int = 2) -> TimedSession:
        session = TimedSession(times_ns, tick_ns, factor)
        for module in (loop, modes):
            monkeypatch.setattr(module, "perf_counter_ns", session.clock)
        return session

    return start


class Management:
    """Does what NVML would for one GPU, which has these numbers: what is not given, it has not.

    Args:
        error: what `nvmlInit_v2` gives.
        lacking: functions that a library of its age has not.
    """

    def __init__(self, error: int, numbers: dict[str, int], lacking: Collection[str]) -> None:
        self.asked = b""
        self.numbers = numbers
        self._error = error
        self._lacking = lacking

    def nvmlInit_v2(self) -> int:  # noqa: N802 - its name
        return self._error

    def nvmlDeviceGetHandleByPciBusId_v2(self, place: Any, handle: Any) -> int:  # noqa: N802
        self.asked = place.value
        handle._obj.value = 5
        return 0

    def __getattr__(self, function: str) -> Any:
        if function in self._lacking:
            raise AttributeError(function)

        def get(handle: Any, *arguments: Any) -> int:
            assert handle.value == 5
            found = self.numbers.get(function.removeprefix("nvmlDeviceGet"))
            if found is None:
                return 3
            arguments[-1]._obj.value = found
            return 0

        return get


@pytest.fixture
def gpu(
    cuda_driver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Management]]:
    """Puts stand-ins in the place of both libraries of a GPU's driver, and gives that of NVML."""

    def install(
        error: int = 0, *, nvml: bool = True, lacking: Collection[str] = (), **numbers: int
    ) -> Management:
        driver, management = cuda_driver(), Management(error, numbers, lacking)

        def library(name: str) -> Any:
            if name == "libcuda.so.1":
                return driver
            if not nvml:
                raise OSError("no such file")
            return management

        monkeypatch.setattr(ctypes, "CDLL", library)
        engines_gpu.cache_clear()
        return management

    yield install
    engines_gpu.cache_clear()
