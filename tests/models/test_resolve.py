"""From a recipe's model to a module with weights."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from edgestill.errors import ModelError
from edgestill.models.config import ModelConfig
from edgestill.models.resolve import build, load_callable, load_weights, number_of_parameters

torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")
safetensors = pytest.importorskip("safetensors.torch", reason="pip install 'edgestill[build]'")

SHARED = Path(__file__).parents[2].parent / "shared" / "models"

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, 2)

class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight

def tuned(width):
    return Net(width)

def wrong():
    return {"a": 1}

finished = Net(5)
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def model(name="Net", **arguments):
    return ModelConfig(f"net.py:{name}", arguments)


def with_weights(base, path, name="Net"):
    config = ModelConfig(f"net.py:{name}", weights=path)
    module = build(config, base)
    load_weights(module, config, base)
    return module


def test_a_class_a_function_and_a_finished_module(base):
    assert build(model("Net", width=4), base).head.in_features == 4
    assert build(model("tuned", width=6), base).head.in_features == 6
    assert build(model("finished"), base).head.in_features == 5


def test_each_build_of_a_finished_module_starts_anew(base):
    first = build(model("finished"), base)
    torch.nn.init.zeros_(first.head.weight)
    assert build(model("finished"), base).head.weight.abs().sum() > 0


def test_a_module_of_a_package():
    assert number_of_parameters(build(ModelConfig("torch.nn:Linear", LINEAR), Path())) == 6


LINEAR = {"in_features": 2, "out_features": 2}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (model("Nett"), r"no 'Nett' in net.py. Did you mean 'Net'\?"),
        (model("Net", widht=4), r"Net\(\): .*'widht'. Did you mean 'width'\?"),
        (model("Net", width=-1), r"net.py:Net \(net.py:8\): Net\(\) raised RuntimeError"),
        (model("wrong"), r"net.py:wrong: it returned a dict, not a torch.nn.Module. Return the"),
        (model("finished", width=3), r"it is a finished Net: there is nothing to pass arguments"),
        (ModelConfig(onnx="a.onnx"), r"a.onnx is not a PyTorch model. Give model: file.py"),
    ],
)
def test_what_is_no_model(base, config, message):
    with pytest.raises(ModelError, match=message):
        build(config, base)


def test_a_function_that_is_no_model(base):
    assert load_callable("net.py:wrong", base)() == {"a": 1}
    (base / "net.py").write_text("metric = 5")
    with pytest.raises(ModelError, match=r"it is a int, not a callable"):
        load_callable("net.py:metric", base)


def test_shared_parameters_count_once(base):
    assert number_of_parameters(build(model("Tied"), base)) == 4 + 2 + 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    ],
)
def test_what_trainers_save(base, wrap):
    state = build(model(), base).state_dict()
    torch.save(wrap(state), base / "weights.pt")
    loaded = with_weights(base, "weights.pt").state_dict()
    for key, value in state.items():
        torch.testing.assert_close(loaded[key], value, atol=1e-3, rtol=1e-3)


def test_safetensors_with_tied_weights(base):
    module = build(model("Tied"), base)
    safetensors.save_model(module, base / "weights.safetensors")
    loaded = with_weights(base, "weights.safetensors", "Tied")
    assert torch.equal(loaded.second.weight, module.first.weight)


def test_weights_that_do_not_fit(base):
    state = build(model(width=4), base).state_dict()
    del state["body.0.bias"]
    state["neck.weight"] = torch.zeros(1)
    safetensors.save_file(state, base / "weights.safetensors")
    with pytest.raises(ModelError) as error:
        with_weights(base, "weights.safetensors")
    assert str(error.value) == (
        f"{base}/weights.safetensors: the weights do not fit the model: "
        "1 missing: body.0.bias [3]; 1 unexpected: neck.weight [1]; "
        "6 of another shape: body.0.weight [4, 2] where the model has [3, 2], "
        "body.1.bias [4] where the model has [3], body.1.running_mean [4] where the model has [3], "
        "body.1.running_var [4] where the model has [3], body.1.weight [4] where the model has [3] "
        "and 1 more. Check that model and arguments are those the weights were trained with"
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda v: (v * 100).to(torch.int8), "int8"),
        (lambda v: v.to(torch.complex64), "complex64"),
        (lambda v: v.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda v: v.to_sparse(), "sparse"),
        (lambda v: v.to("meta"), "without values"),
    ],
)
def test_weights_that_are_no_plain_floats(base, change, what):
    state = build(model(), base).state_dict()
    state["head.bias"] = change(state["head.bias"])
    torch.save(state, base / "weights.pt")
    with pytest.raises(ModelError) as error:
        with_weights(base, "weights.pt")
    assert f"1 of another type: head.bias is {what} where the model has floats." in str(error.value)


def test_weights_with_nan(base):
    state = build(model(), base).state_dict()
    state["head.bias"][0] = torch.nan
    safetensors.save_file(state, base / "weights.safetensors")
    with pytest.raises(ModelError, match=r"1 weights with NaN or Inf: head.bias"):
        with_weights(base, "weights.safetensors")


class Trainer:
    """Something that only unpickling could load."""


def test_pickles_are_not_loaded(base):
    torch.save({"trainer": Trainer()}, base / "weights.pt")
    with pytest.raises(ModelError, match=r"pickled Python objects.*not loaded. Where you trust"):
        with_weights(base, "weights.pt")
    (base / "plain.pt").write_bytes(pickle.dumps(Trainer()))
    with pytest.raises(ModelError, match=r"pickled Python objects"):
        with_weights(base, "plain.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "weights.pt",
            b"hello",
            r"weights.pt: not a file of weights: neither what torch.save writes nor safetensors by "
            r"its ending. Name a .safetensors file, or one that torch.save wrote$",
        ),
        ("weights.safetensors", b"hello", r"not a readable safetensors file"),
    ],
)
def test_files_that_are_no_weights(base, name, content, message):
    (base / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        with_weights(base, name)


def test_a_torch_file_without_a_state_dict(base):
    torch.save({"epoch": 3}, base / "weights.pt")
    with pytest.raises(ModelError, match=r"no state dict but the keys epoch. Save model.state_d"):
        with_weights(base, "weights.pt")


def test_a_folder_of_weights(base):
    (base / "weights").mkdir()
    (base / "weights" / "best.pt").touch()
    with pytest.raises(ModelError, match=r"weights is a folder. Name a file .* in it: best.pt$"):
        with_weights(base, "weights")


def test_a_missing_file(base):
    (base / "weights.safetensors").touch()
    with pytest.raises(ModelError, match=r"no file .*Did you mean 'weights.safetensors'\?"):
        with_weights(base, "weight.safetensors")


def test_a_real_teacher():
    if not SHARED.is_dir():
        pytest.skip(f"needs a trained CIFAR ResNet in {SHARED}")
    config = ModelConfig("cifar_resnet.py:teacher", weights="cifar_resnet_teacher.safetensors")
    module = build(config, SHARED)
    load_weights(module, config, SHARED)
    assert round(number_of_parameters(module) / 1e6, 2) == 0.70


def test_importing_loads_no_torch():
    code = "import sys, edgestill.models.resolve; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
