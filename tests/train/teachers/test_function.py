"""A teacher that is a function: it answers batches, or is refused with the place in its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from edgestill.errors import EnvironmentFailure, ModelError
from edgestill.train.predict import to_tensors
from edgestill.train.teachers.function import FunctionTeacher

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4), np.uint8)
OTHER = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
WEIGHT = np.random.default_rng(2).normal(size=(4, 3))


def teacher(folder: Path, body: str, mixed: str | None = None, role: str = "teacher") -> Any:
    """Of `answers(batch)`, whose body this is, on two inputs."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    code = f"import numpy as np\n\ncalls = []\n\n\ndef answers(batch):\n{lines}\n"
    (folder / "asked.py").write_text(code, "utf-8")
    arrays = {"image": PIXELS, "other": OTHER}
    return FunctionTeacher("asked.py:answers", folder, arrays, mixed, role)


def answer(asked: FunctionTeacher, *arrays: NDArray[Any]) -> torch.Tensor:
    tensors = to_tensors(dict(enumerate(arrays)), slice(None), torch.device("cpu"))
    outputs = asked.answer(tensors, np.arange(len(arrays[0])), 0)
    assert outputs.features == {}
    return outputs.logits


def test_it_is_given_each_input_by_name_and_its_answers_are_float32(tmp_path: Path) -> None:
    weight = WEIGHT.tolist()
    body = f"return batch['image'] @ np.array({weight}) + batch['other'][:, :1]"
    asked = teacher(tmp_path, body)
    assert asked.prediction_shape == (3,)
    assert asked.view_of(7) == 7
    found = answer(asked, PIXELS, OTHER)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, PIXELS @ WEIGHT + OTHER[:, :1], rtol=1e-5)
    many = {"image": np.tile(PIXELS, (30, 1)), "other": np.tile(OTHER, (30, 1))}
    np.testing.assert_allclose(asked.predict(many), np.tile(found, (30, 1)), rtol=1e-6)


def test_it_may_be_a_classifier_of_another_library(tmp_path: Path) -> None:
    labels = (PIXELS[:, 0] > 128).astype(int) + (PIXELS[:, 1] > 128)
    code = (
        "import numpy as np\n"
        "from sklearn.linear_model import LogisticRegression\n"
        f"x, y = np.array({(PIXELS / 255).tolist()}), {labels.tolist()}\n"
        "model = LogisticRegression().fit(x, y)\n"
        "def answers(batch):\n"
        "    return model.decision_function(batch['image'] / 255)\n"
    )
    (tmp_path / "asked.py").write_text(code, "utf-8")
    asked = FunctionTeacher("asked.py:answers", tmp_path, {"image": PIXELS}, None)
    model = LogisticRegression().fit(PIXELS / 255, labels)
    expected = model.decision_function(PIXELS / 255)
    np.testing.assert_allclose(answer(asked, PIXELS), expected, rtol=1e-5)


@pytest.mark.parametrize("tokens", [2, 3], ids=["two tokens", "as many tokens as classes"])
def test_classes_that_it_has_on_the_last_axis_become_the_first(tmp_path: Path, tokens: int) -> None:
    code = f"def answers(batch):\n    return batch['image'][:, :{tokens}, None] * [1.0, 2.0, 3.0]\n"
    (tmp_path / "asked.py").write_text(code, "utf-8")
    data = {"image": PIXELS}
    asked = FunctionTeacher("asked.py:answers", tmp_path, data, None, classes_last=True)
    assert asked.prediction_shape == (3, tokens)
    expected = PIXELS[:, None, :tokens] * np.array([1.0, 2.0, 3.0])[:, None]
    np.testing.assert_array_equal(answer(asked, PIXELS), expected)
    np.testing.assert_array_equal(asked.predict(data), expected)


def test_a_function_without_positions_has_no_classes_to_move(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text("def answers(batch):\n    return batch['image'] / 2\n")
    with pytest.raises(ModelError) as error:
        FunctionTeacher("asked.py:answers", tmp_path, {"image": PIXELS}, None, classes_last=True)
    assert str(error.value) == (
        "teacher: asked.py:answers: classes: last is for models that classify each position, and "
        "it predicts [4] a sample. Leave classes out"
    )


def test_what_it_does_to_its_arrays_does_not_reach_the_student(tmp_path: Path) -> None:
    body = "out = batch['other'].copy()\nbatch['image'][:] = 0\nbatch['other'] *= 0\nreturn out"
    asked = teacher(tmp_path, body)
    tensors = to_tensors({"image": PIXELS, "other": OTHER}, slice(None), torch.device("cpu"))
    asked.answer(tensors, np.arange(20), 0)
    np.testing.assert_array_equal(tensors[0], PIXELS)
    np.testing.assert_array_equal(tensors[1], OTHER)


def test_modules_beside_it_may_be_imported_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("SCALE = 3.0\n", "utf-8")
    asked = teacher(tmp_path, "from beside_it import SCALE\nreturn SCALE * batch['other']")
    np.testing.assert_allclose(answer(asked, PIXELS, OTHER), 3 * OTHER, rtol=1e-6)


def test_of_mixed_samples_it_is_given_floats_from_the_first_call_on(tmp_path: Path) -> None:
    body = "if batch['image'].dtype != np.float32: raise TypeError(batch['image'].dtype)\n"
    body += "return batch['image']"
    asked = teacher(tmp_path, body, mixed="image")
    mixed = (0.3 * PIXELS + 0.7 * PIXELS[::-1]).astype(np.float32)
    np.testing.assert_array_equal(answer(asked, mixed, OTHER), mixed)
    with pytest.raises(ModelError, match=r"asked.py:7\): answers\(\) raised TypeError: uint8"):
        teacher(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "rows = batch['image']\nreturn rows['logits']",
            "teacher: asked.py:answers (asked.py:8): answers() raised IndexError: only integers, "
            "slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays "
            "are valid indices. --debug shows the traceback",
        ),
        (
            "return None",
            "teacher: asked.py:answers: it returned None, not a numpy array. Return one array with "
            "a row for each sample",
        ),
        (
            "return [[0.0, 1.0]] * len(batch['image'])",
            "teacher: asked.py:answers: it returned a list, not a numpy array. Return one array "
            "with a row for each sample",
        ),
        (
            "return batch['image'].argmax(1)",
            "teacher: asked.py:answers: it returned int64, and a student learns from logits or "
            "values. Return floats: a logit for each class, not the number of the likeliest",
        ),
        (
            "return batch['other'].T",
            "teacher: asked.py:answers: it returned [2, 1] for 1 sample: its first axis is not the "
            "batch. Return one row for each sample",
        ),
        (
            "return batch['other'].mean()[None]",
            "teacher: asked.py:answers: it returned [1] for 2 samples: its first axis is not the "
            "batch. Return one row for each sample",
        ),
        (
            "return np.log(0 * batch['other'].clip(0, 1))",
            "teacher: asked.py:answers: it returned values that are not finite in float32. Return "
            "finite numbers for every sample",
        ),
        (
            "return batch['other'].astype(np.float64) * 1e300",
            "teacher: asked.py:answers: it returned values that are not finite in float32. Return "
            "finite numbers for every sample",
        ),
        (
            "return np.zeros((len(batch['other']), len(batch['other'])))",
            "teacher: it predicts [1] values per sample, and [2] when it was asked first. Let its "
            "prediction have one shape, whatever the batch",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_answer_that_is_no_prediction(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        teacher(tmp_path, body)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "body",
    [
        "return batch['other'] + np.random.default_rng().normal(size=(len(batch['other']), 2))",
        "calls.append(1)\nreturn batch['other'] + len(calls)",
        "return batch['other'] - batch['other'].mean(0)",
    ],
    ids=["random", "counts its calls", "looks at the batch"],
)
def test_an_answer_that_is_not_of_the_sample_alone(tmp_path: Path, body: str) -> None:
    with pytest.raises(ModelError) as error:
        teacher(tmp_path, body, role="teacher wide")
    assert str(error.value) == (
        "teacher wide: it answers a sample otherwise when it is asked again, or beside another "
        "one. Let it answer each sample by itself: no random numbers, nothing that it keeps "
        "between calls, no statistics over the batch"
    )


@pytest.mark.parametrize(
    ("raising", "told"),
    [
        ("raise ConnectionRefusedError('port 8000')", "ConnectionRefusedError: port 8000"),
        ("raise TimeoutError('after 30 s')", "TimeoutError: after 30 s"),
        ("raise OSError(28, 'No space left')", "OSError: [Errno 28] No space left"),
        (
            "raise RuntimeError('no answer') from ConnectionResetError('gone')",
            "RuntimeError: no answer",
        ),
        (
            "try:\n        raise ConnectionResetError('gone')\n"
            "    except OSError:\n        raise IOError('no answer')",
            "OSError: no answer",
        ),
        ("import socket; raise socket.gaierror(-2, 'unknown')", "gaierror: [Errno -2] unknown"),
    ],
    ids=["refused", "late", "full", "a client's own", "while handling", "no such host"],
)
def test_what_it_asks_is_not_there_for_now(tmp_path: Path, raising: str, told: str) -> None:
    """It answered at first: the environment failed, and not the recipe."""
    body = f"calls.append(1)\nif len(calls) > 3:\n    {raising}\nreturn batch['other']"
    asked = teacher(tmp_path, body, role="teacher wide")
    with pytest.raises(EnvironmentFailure) as error:
        answer(asked, PIXELS, OTHER)
    assert error.value.exit_code == 3
    line = 9 + raising.count("\n")
    assert str(error.value) == (
        f"teacher wide: asked.py:answers (asked.py:{line}): answers() raised {told}. Run again "
        "once it answers: finished steps are kept, a training goes on from its last checkpoint, "
        "and distill.cache keeps each view that is complete"
    )


def test_what_it_asks_is_not_there_when_its_code_is_imported(tmp_path: Path) -> None:
    code = "raise ConnectionRefusedError('port 8000')\n\ndef answers(batch): ...\n"
    (tmp_path / "asked.py").write_text(code, "utf-8")
    with pytest.raises(EnvironmentFailure) as error:
        FunctionTeacher("asked.py:answers", tmp_path, {"image": PIXELS}, None)
    assert str(error.value).startswith(
        "teacher: asked.py:answers (asked.py:1): asked.py cannot be imported: "
        "ConnectionRefusedError: port 8000. Run again once it answers: "
    )


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ("return np.load('vocabulary.npy')", "FileNotFoundError"),
        ("return np.load('.')", "IsADirectoryError"),
        ("raise IOError('401: no such user')", "OSError"),
    ],
)
def test_what_its_code_or_its_server_refuses_is_a_mistake(
    tmp_path: Path, body: str, raised: str
) -> None:
    with pytest.raises(ModelError, match=f"raised {raised}") as error:
        teacher(tmp_path, body)
    assert error.value.exit_code == 2


def test_a_function_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text("def answers(batch): ...\n", "utf-8")
    with pytest.raises(ModelError) as error:
        FunctionTeacher("asked.py:answer", tmp_path, {"image": PIXELS}, None)
    assert str(error.value) == (
        "teacher: asked.py:answer: there is no 'answer' in asked.py. Did you mean 'answers'?"
    )
