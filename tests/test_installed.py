"""Versions from metadata: of a distribution, and of a library that several may bring."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from edgestill.installed import (
    distributions_of,
    installed_version,
    is_installed,
    library_version,
)

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Adds the metadata of a distribution that brings these files."""

    def add(name: str, version: str, *files: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(metadata, "utf-8")
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files), "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))

    return add


def test_a_distribution_has_its_own_version_alone(install: Install) -> None:
    install("quickrun-gpu", "1.22.0", "quickrun/__init__.py")
    assert installed_version("quickrun-gpu") == "1.22.0"
    assert installed_version("quickrun") is None


@pytest.mark.parametrize("name", ["slow-run", "slow-run-gpu", "slow_run_openvino"])
def test_a_library_has_the_version_of_what_brings_it(name: str, install: Install) -> None:
    install(name, "1.22.0", "slow_run/__init__.py", "slow_run/capi/core.so")
    install("slow-runner", "9.0", "slow_runner/__init__.py", "tools/slow_run/x.py")
    library_version.cache_clear()
    distributions_of.cache_clear()
    assert library_version("slow-run") == "1.22.0"


def test_a_library_that_is_not_there_has_no_version() -> None:
    assert library_version("edgestill-no-such-thing") is None


def test_a_module_is_traced_to_what_brought_it() -> None:
    assert distributions_of("sklearn") == (("scikit-learn", version("scikit-learn")),)
    assert distributions_of("no_such_module") == ()


def test_a_library_is_known_wherever_pip_was_told_to_put_it(
    install: Install, tmp_path: Path
) -> None:
    install("quickrun", "1.22.0", "quickrun/__init__.py", "quick.py")
    assert is_installed(tmp_path / "quickrun" / "deep" / "core.py")
    assert is_installed(tmp_path / "quick.py")
    assert is_installed(Path("/opt/env/lib/python3.11/site-packages/torch/nn/__init__.py"))
    users = [tmp_path / "net.py", tmp_path / "project" / "net.py", Path("quickrun/net.py")]
    assert not any(map(is_installed, users))
