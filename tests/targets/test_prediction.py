"""Every sample of a dataset through a model, in batches that the model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Dataset, Engine, OnnxModel, TensorSpec
from edgestill.digest import digest_folder
from edgestill.errors import DataError, DeviceError
from edgestill.targets import get_target, prediction
from edgestill.targets.jobs import Model, PredictJob
from edgestill.targets.measure import Workers, predict, predict_onnx
from edgestill.targets.options import TensorRtRtxOptions

Arrays = Mapping[str, NDArray[Any]]
MakeOnnx = Callable[..., OnnxModel]
MakeDataset = Callable[[Arrays], Dataset]


def spec(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def predicted(
    model: Engine | OnnxModel,
    dataset: Dataset,
    out: Path,
    batch: int = 64,
    alive: Callable[[], None] = lambda: None,
) -> list[NDArray[Any]]:
    """What is written for each output."""
    job = PredictJob("predict", Model.of(model), dataset.path, out, threads=1, batch=batch)
    prediction.predict_all(job, alive)
    names = range(len(model.description.signature.outputs))
    return [np.load(out / "outputs" / f"{name}.npy") for name in names]


@pytest.mark.parametrize("batch", [1, 33, 64, 100, 1000])
def test_the_last_batch_may_be_a_part(
    batch: int, doubling: OnnxModel, numbers: Dataset, tmp_path: Path
) -> None:
    (found,) = predicted(doubling, numbers, tmp_path, batch)
    np.testing.assert_array_equal(found, 2 * np.load(numbers.input_path("x")))


@pytest.mark.parametrize("fixed", [1, 8, 100, 128])
def test_a_fixed_batch_is_filled_up_and_the_filling_dropped(
    fixed: int, make_onnx: MakeOnnx, numbers: Dataset, tmp_path: Path
) -> None:
    model = make_onnx([("Neg", "x", "y", {})], [spec("x", fixed, 2)], [spec("y", fixed, 2)])
    (found,) = predicted(model, numbers, tmp_path, batch=64)
    np.testing.assert_array_equal(found, -np.load(numbers.input_path("x")))


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_outputs_are_written_in_the_models_order_and_types(
    target: str,
    token_model: OnnxModel,
    built: Callable[..., Engine],
    make_dataset: MakeDataset,
    plain_answer: Callable[[OnnxModel, Arrays], Arrays],
    tmp_path: Path,
) -> None:
    if not get_target(target).probe().can_run:
        pytest.skip(f"pip install 'edgestill[{target}]'")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10, 6, 5)).astype(np.float32)
    arrays = {"features": features, "tokens": rng.integers(0, 20, (10, 6))}
    dataset = make_dataset(arrays)
    found = predict(built(target, token_model), dataset, tmp_path, threads=1, batch=4)
    expected = plain_answer(token_model, arrays)
    assert found.description.outputs == ("states", "best")
    assert found.description.prediction == "states"
    assert (found.description.runtime, found.description.count) == (target, 10)
    assert found.digest == digest_folder(tmp_path)
    for name, tolerance in (("states", 1e-5), ("best", 0)):
        array = np.load(found.output_path(name))
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=tolerance)


def test_an_onnx_model_and_its_engine_share_one_worker(
    doubling: OnnxModel, built: Callable[..., Engine], numbers: Dataset, tmp_path: Path
) -> None:
    with Workers() as workers:
        plain = predict_onnx(doubling, numbers, tmp_path / "a", threads=1, workers=workers)
        engine = built("onnxruntime", doubling)
        compiled = predict(engine, numbers, tmp_path / "b", threads=1, workers=workers)
    assert plain.digest == compiled.digest
    assert plain.description.runtime == "onnxruntime"


@pytest.mark.parametrize("shape", [(2,), ()])
@pytest.mark.parametrize(
    ("operator", "value", "found"), [("Log", -1, "nan"), ("Log", 0, "-inf"), ("Exp", 99, "inf")]
)
def test_an_output_that_is_not_finite_is_named_with_its_sample(
    shape: tuple[int, ...],
    operator: str,
    value: float,
    found: str,
    make_onnx: MakeOnnx,
    make_dataset: MakeDataset,
    tmp_path: Path,
) -> None:
    nodes = [("Neg", "x", "fine", {}), (operator, "x", "odd", {})]
    outputs = [spec("fine", None, *shape), spec("odd", None, *shape)]
    model = make_onnx(nodes, [spec("x", None, *shape)], outputs)
    samples = np.ones((50, *shape), np.float32)
    samples[37] = value
    with pytest.raises(DeviceError) as raised:
        predicted(model, make_dataset({"x": samples}), tmp_path, batch=16)
    assert str(raised.value) == f"sample 37: the output odd has {found}"


def test_integers_and_truth_values_are_always_finite(
    make_onnx: MakeOnnx, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    nodes = [("Identity", "x", "y", {}), ("Not", "b", "c", {})]
    inputs = [spec("x", None, dtype="int64"), spec("b", None, 2, dtype="bool")]
    outputs = [spec("y", None, dtype="int64"), spec("c", None, 2, dtype="bool")]
    largest = np.full(5, 2**63 - 1)
    flags = np.eye(5, 2, dtype=bool)
    dataset = make_dataset({"x": largest, "b": flags})
    y, c = predicted(make_onnx(nodes, inputs, outputs), dataset, tmp_path)
    np.testing.assert_array_equal(y, largest)
    np.testing.assert_array_equal(c, ~flags)


@pytest.mark.parametrize(
    ("node", "shape", "found"),
    [
        (("ReduceSum", "x", "y", {"keepdims": 0}), (), "[]"),
        (("Constant", "", "y", {"value_floats": [1.0, 2.0]}), (2,), "[2]"),
        (("ReduceSum", "x axes", "y", {"keepdims": 1}), (1, 2), "[1, 2]"),
    ],
)
def test_an_output_without_the_batch_is_refused(
    node: Any,
    shape: tuple[int, ...],
    found: str,
    make_onnx: MakeOnnx,
    numbers: Dataset,
    tmp_path: Path,
) -> None:
    weights = {"axes": np.array([0])} if "axes" in node[1] else {}
    model = make_onnx([node], [spec("x", None, 2)], [spec("y", *shape)], weights)
    with pytest.raises(DeviceError) as raised:
        predicted(model, numbers, tmp_path)
    expected = ", ".join(map(str, (64, *shape[1:])))
    assert str(raised.value) == (
        f"sample 0: the output is y float32 {found}, expected y float32 [{expected}]"
    )


def test_a_size_that_changes_from_call_to_call_is_refused(
    make_onnx: MakeOnnx, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    # As many columns as the largest number in the batch says.
    nodes = [
        ("ReduceMax", "x", "largest", {"keepdims": 0}),
        ("Cast", "largest", "count", {"to": 7}),
        ("Unsqueeze", "count first", "end", {}),
        ("Slice", "x first end second", "y", {}),
    ]
    weights = {"first": np.array([0]), "second": np.array([1])}
    model = make_onnx(nodes, [spec("x", None, 3)], [spec("y", None, None)], weights)
    samples = np.ones((20, 3), np.float32)
    samples[0] = 3
    with pytest.raises(DeviceError) as raised:
        predicted(model, make_dataset({"x": samples}), tmp_path, batch=10)
    assert str(raised.value) == (
        "sample 10: the output is y float32 [10, 1], expected y float32 [10, 3]"
    )


def test_data_that_lacks_an_input_is_refused(
    token_model: OnnxModel, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset({"tokens": np.zeros((3, 6), np.int64), "x": np.zeros((3, 2))})
    with pytest.raises(DataError) as raised:
        predicted(token_model, dataset, tmp_path)
    assert str(raised.value) == (
        f"{dataset.path}: the model's input features float32 [?, 6, 5] is not in the data, "
        "which has tokens int64 [?, 6], x float64 [?, 2]"
    )


def test_signs_of_life_are_given_while_it_goes_on(
    doubling: OnnxModel, numbers: Dataset, tmp_path: Path
) -> None:
    signs: list[bool] = []
    predicted(doubling, numbers, tmp_path, batch=10, alive=lambda: signs.append(True))
    assert len(signs) == 10


def test_the_largest_batch_is_the_models_or_what_the_engine_was_built_for(
    make_onnx: MakeOnnx, doubling: OnnxModel, built: Callable[..., Engine], tmp_path: Path
) -> None:
    fixed = make_onnx([("Neg", "x", "y", {})], [spec("x", 8, 2)], [spec("y", 8, 2)])
    assert Model.of(doubling).largest_batch is None
    assert Model.of(built("onnxruntime", doubling)).largest_batch is None
    assert Model.of(fixed).largest_batch == 8
    assert Model.of(built("onnxruntime", fixed)).largest_batch == 8
    target = get_target("tensorrt-rtx")
    if target.probe().can_compile:
        options = TensorRtRtxOptions(compute_capability=(8.6,), max_batch=4)
        limited = target.compile(doubling, "fp32", options, tmp_path)
        assert Model.of(limited).largest_batch == 4
