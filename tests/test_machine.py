"""What of this machine stands in a key: the instruction set, and the GPU where it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.machine import Hardware, Machine
from edgestill.targets.fingerprint import Fingerprint

MakeDriver = Callable[..., Any]

ISA = list(Fingerprint.read().isa)
L4 = {"name": "NVIDIA L4", "compute_capability": "8.9", "cuda": "13.0"}


@pytest.fixture
def torch_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes another build of torch the one that is installed, by its metadata."""
    for name in ("ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)

    def install(version: str) -> None:
        folder = tmp_path / f"torch-{version}.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        (folder / "METADATA").write_text(metadata, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_most_results_are_the_same_on_all_machines(cuda_driver: MakeDriver) -> None:
    driver = cuda_driver()
    assert Machine().key_parts(Hardware.ANY) == {}
    assert Machine().key_parts(Hardware.CPU) == {"isa": ISA}
    assert driver.calls == []  # a driver takes a while to start


@pytest.mark.parametrize(
    ("driver", "gpu"),
    [
        ({}, L4),
        ({"gpus": ("NVIDIA A2",)}, {**L4, "name": "NVIDIA A2"}),
        ({"cuda": 12080}, {**L4, "cuda": "12.8"}),
        ({"gpus": ()}, None),
    ],
)
def test_what_is_made_for_the_gpu_is_keyed_by_it(
    driver: dict[str, Any], gpu: dict[str, str] | None, cuda_driver: MakeDriver
) -> None:
    cuda_driver(**driver)
    assert Machine().key_parts(Hardware.GPU) == {"gpu": gpu}


@pytest.mark.parametrize(
    ("version", "variables", "gpu"),
    [
        ("2.13.0", {}, L4),
        ("2.13.0+cu130", {}, L4),
        ("2.13.0+cpu", {}, None),
        ("2.13.0", {"ACCELERATE_USE_CPU": "true"}, None),
        ("2.13.0", {"ACCELERATE_USE_CPU": "False"}, L4),
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cpu"}, None),
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cpu:0"}, None),
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cuda"}, L4),
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cuda:1"}, {**L4, "name": "NVIDIA T4"}),
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cuda:2"}, None),
        # Accelerate lets the device that is named win.
        ("2.13.0", {"ACCELERATE_TORCH_DEVICE": "cuda", "ACCELERATE_USE_CPU": "1"}, L4),
    ],
)
def test_a_training_is_keyed_by_the_gpu_where_torch_would_train_on_it(
    version: str,
    variables: dict[str, str],
    gpu: dict[str, str] | None,
    torch_version: Callable[[str], None],
    cuda_driver: MakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch_version(version)
    cuda_driver(("NVIDIA L4", "NVIDIA T4"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = {"isa": ISA} if gpu is None else {"isa": ISA, "gpu": gpu}
    assert Machine().key_parts(Hardware.TORCH) == expected


def test_without_a_driver_a_training_is_keyed_as_on_any_cpu(
    torch_version: Callable[[str], None], cuda_driver: MakeDriver
) -> None:
    torch_version("2.13.0+cu130")
    cuda_driver(error=100)
    assert Machine().key_parts(Hardware.TORCH) == {"isa": ISA}
