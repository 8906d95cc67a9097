"""What a file of weights holds for a model, and why one is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from torch import nn

from edgestill.errors import ModelError
from edgestill.models.weights import read_state

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


STATE = network().state_dict()
PARAMETERS = {name for name, _ in network().named_parameters()}
AVERAGED = {key: value + 1 for key, value in STATE.items()}


def below(prefix: str, state: dict[str, Any] = STATE) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def read(folder: Path, content: Any) -> dict[str, torch.Tensor]:
    torch.save(content, folder / "weights.pt")
    return read_state(folder / "weights.pt", STATE.keys(), PARAMETERS)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"params": STATE}, id="under a key of any name"),
        pytest.param({"run": {"best": {"weights": STATE}}}, id="deep inside"),
        pytest.param({"state": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}),
        pytest.param({"generator": STATE, "critic": {"scale": torch.ones(1)}}, id="beside another"),
        pytest.param({"state_dict": below("backbone.")}, id="below the name of an attribute"),
        pytest.param({**below("model."), "criterion.weight": torch.ones(2)}, id="beside a loss"),
        pytest.param({**below("module."), "n_averaged": torch.tensor(5)}, id="AveragedModel"),
        pytest.param(below("module._orig_mod.model."), id="below several wrappers"),
        pytest.param({"last": STATE, "best": {k: v.clone() for k, v in STATE.items()}}, id="twice"),
    ],
)
def test_the_weights_of_the_model_are_found(tmp_path: Path, content: Any) -> None:
    found = read(tmp_path, content)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": STATE, "model_ema": AVERAGED}, "model, model_ema"),
        (
            {"model": STATE, "shadow": {name: AVERAGED[name] for name in PARAMETERS}},
            "model, shadow",
        ),
        ({name: {k: v.to("meta") for k, v in STATE.items()} for name in "ab"}, "a, b"),
        ({**below("student."), **below("teacher.", AVERAGED)}, "it below student., it below teach"),
    ],
)
def test_several_that_could_be_meant_are_not_guessed(
    tmp_path: Path, content: Any, names: str
) -> None:
    with pytest.raises(ModelError) as error:
        read(tmp_path, content)
    assert f"it holds several sets of weights for this model: {names}" in str(error.value)
    assert error.value.fix == (
        "Save the one that is meant in a file of its own, with the keys of the model: "
        "safetensors.torch.save_file(weights, 'weights.safetensors')"
    )


def test_what_does_not_belong_to_the_model_is_given_for_the_caller_to_refuse(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, {**STATE, "neck.weight": torch.ones(2)}).keys() - STATE.keys() == {
        "neck.weight"
    }
    assert read(tmp_path, {"other.thing": torch.ones(2)}).keys() == {"other.thing"}


def test_a_changed_bit_is_found(tmp_path: Path) -> None:
    """torch itself loads such a file, with another number in it."""
    torch.save(STATE, tmp_path / "weights.pt")
    content = bytearray((tmp_path / "weights.pt").read_bytes())
    content[content.index(STATE["0.weight"].numpy().tobytes()) + 3] ^= 1
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_state(tmp_path / "weights.pt", STATE.keys(), PARAMETERS)
    assert str(error.value) == (
        f"{tmp_path / 'weights.pt'}: it is damaged: weights/data/0 in it does not match its "
        "checksum. Fetch or save it again"
    )


def test_a_packed_archive_that_is_broken(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "weights.pt", "w", ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", bytes(range(256)) * 40)
    content = bytearray((tmp_path / "weights.pt").read_bytes())
    content[content.index(b"weights/data.pkl") + 16] = 0xFF  # where the packed bytes begin
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"not a readable torch file \(error: .*save it again"):
        read_state(tmp_path / "weights.pt", STATE.keys(), PARAMETERS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_not_loaded(tmp_path: Path) -> None:
    # torch gives this function no types.
    traced: Any = torch.jit.trace(network().eval(), torch.zeros(1, 2))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "weights.pt"))
    with pytest.raises(ModelError) as error:
        read_state(tmp_path / "weights.pt", STATE.keys(), PARAMETERS)
    assert str(error.value) == (
        f"{tmp_path / 'weights.pt'}: it is a TorchScript archive, which holds code beside the "
        "weights: not loaded. Where you trust it, save its weights: "
        "torch.save(torch.jit.load('weights.pt').state_dict(), 'weights.pt')"
    )


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_file_that_was_not_fetched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LFS)
    with pytest.raises(ModelError) as error:
        read_state(tmp_path / name, STATE.keys(), PARAMETERS)
    assert str(error.value) == (
        f"{tmp_path / name}: a pointer of Git LFS, not the file itself. Fetch the file: "
        "git lfs pull"
    )
