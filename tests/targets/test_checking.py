"""Outputs of timed calls are held against what the model answered when it was scored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Engine, EngineDescription, OnnxModel, Signature, TensorSpec
from edgestill.targets.checking import Check, tolerance_of
from edgestill.targets.jobs import Model

X, Y = (TensorSpec(name, "float32", (None, 2)) for name in "xy")
REFERENCE = np.array([[1.0, -4.0], [0.5, 2.0]], np.float32)
NOT_NUMBERS = sys.float_info.max


@pytest.mark.parametrize(
    ("output", "difference", "mismatches"),
    [
        (REFERENCE, 0.0, 0),
        (REFERENCE + np.float32(2**-9), 2**-11, 0),
        (REFERENCE + np.float32(2**-6), 2**-8, 1),
        (-REFERENCE, 2.0, 1),
        (np.full((2, 2), np.nan, np.float32), NOT_NUMBERS, 1),
        (np.array([[1.0, -4.0], [np.inf, 2.0]], np.float32), NOT_NUMBERS, 1),
        (REFERENCE[:1], NOT_NUMBERS, 1),
        (REFERENCE[:, :, None], NOT_NUMBERS, 1),
        (np.float32(1.0).reshape(()), NOT_NUMBERS, 1),
    ],
)
def test_outputs_are_held_against_predictions(
    output: NDArray[Any], difference: float, mismatches: int
) -> None:
    check = Check([{"y": REFERENCE}], 1e-3)
    check(0, {"y": output})
    assert (check.largest_difference, check.mismatches) == (difference, mismatches)
    # And counted each time that it is met.
    check(0, {"y": output.copy()})
    assert (check.largest_difference, check.mismatches) == (difference, 2 * mismatches)


def test_what_was_accepted_is_no_excuse_for_what_comes_later() -> None:
    check = Check([{"y": REFERENCE}], 1e-3)
    check(0, {"y": REFERENCE + np.float32(2**-9)})
    check(0, {"y": REFERENCE * 2})
    assert (check.mismatches, check.largest_difference) == (1, 1.0)
    check(0, {"y": REFERENCE})
    assert check.mismatches == 1


def test_an_answer_to_another_feed_is_wrong() -> None:
    check = Check([{"y": np.array([1.0])}, {"y": np.array([2.0])}], 1e-3)
    check(1, {"y": np.array([2.0])})
    check(0, {"y": np.array([2.0])})
    assert check.mismatches == 1
    check(0, {"y": np.array([1.0])})
    check(1, {"y": np.array([1.0])})
    assert check.mismatches == 2


def test_every_output_counts_on_its_own_scale() -> None:
    large, small = np.array([1000.0]), np.array([0.001])
    check = Check([{"large": large, "small": small}], 1e-3)
    check(0, {"large": large + 0.5, "small": small})
    assert check.mismatches == 0
    check(0, {"large": large, "small": small * 1.1})
    assert (check.mismatches, check.largest_difference) == (1, pytest.approx(0.1))
    # Nonsense in an output of small values is still a number that JSON can hold.
    check(0, {"large": large, "small": small * np.nan})
    assert check.largest_difference == NOT_NUMBERS


def test_the_scale_is_that_of_all_references() -> None:
    check = Check([{"y": np.array([0.0])}, {"y": np.array([-8.0])}], 1e-3)
    check(0, {"y": np.array([2**-8])})
    assert (check.mismatches, check.largest_difference) == (0, 2**-11)
    zeros = Check([{"y": np.zeros(2)}], 1e-3)
    zeros(0, {"y": np.array([0.0, 0.5])})
    assert (zeros.mismatches, zeros.largest_difference) == (1, 0.5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16"])
def test_outputs_that_are_no_floats_are_compared_too(dtype: str) -> None:
    reference = np.array([0, 1, 1], dtype)
    check = Check([{"y": reference}], 1e-3)
    check(0, {"y": reference.copy()})
    assert (check.mismatches, check.largest_difference) == (0, 0.0)
    check(0, {"y": np.array([1, 1, 1], dtype)})
    assert (check.mismatches, check.largest_difference) == (1, 1.0)


def test_empty_outputs_are_equal() -> None:
    empty = np.zeros((2, 0), np.float32)
    check = Check([{"y": empty}], 1e-3)
    check(0, {"y": empty.copy()})
    assert (check.mismatches, check.largest_difference) == (0, 0.0)


@pytest.mark.parametrize(
    ("precision", "options", "tolerance"),
    [
        ("fp32", {}, 1e-3),
        ("fp32", {"inference_precision": "f32"}, 1e-3),
        ("fp32", {"inference_precision": "bf16"}, 5e-2),
        ("int8", {"inference_precision": "f32"}, 5e-2),
        ("fp16", {"max_batch": 16}, 2e-2),
    ],
)
def test_the_tolerance_is_that_of_what_an_engine_computes_in(
    precision: str, options: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    signature = Signature((X,), (Y,), "y")
    description = EngineDescription("openvino", precision, None, signature, "m", options, {})
    engine = Engine.seal(tmp_path, description)
    assert tolerance_of(Model.of(engine)) == tolerance


def test_the_tolerance_of_an_onnx_model_is_that_of_its_precision(doubling: OnnxModel) -> None:
    assert tolerance_of(Model.of(doubling)) == 1e-3
