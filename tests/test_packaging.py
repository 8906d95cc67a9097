"""What is installed elsewhere: a wheel with every module, and a device that has Python 3.10."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
import edgestill
home = pathlib.Path(edgestill.__file__).parent
assert home.is_relative_to(sys.argv[1]), home
names = [m.name for m in pkgutil.walk_packages([str(home)], "edgestill.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names), *sorted(names))
"""


def call(*arguments: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=environment.get("PWD"),
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, since building writes beside them."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("pipeline", "targets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    call(sys.executable, "-c", build, out, PWD=str(source))
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    expected = set()
    for folder, package in (("pipeline", "edgestill"), ("targets", "edgestill/targets")):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yaml", ".tmpl", ".typed", ".json", ".css"):
                expected.add(f"{package}/{file.relative_to(ROOT / folder).as_posix()}")
    assert inside == expected


def test_installed_elsewhere_every_module_can_be_imported(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    path = {"PYTHONPATH": str(tmp_path)}
    listed = call(sys.executable, "-W", "ignore", "-c", IMPORT_ALL, tmp_path, **path).split()
    assert int(listed[0]) > 150
    assert "edgestill.targets.openvino" in listed
    help_text = call(sys.executable, "-m", "edgestill", "--help", **path)
    assert "Distil, quantize, compile and verify" in help_text


def find_python_3_10() -> Path | None:
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = sorted(file for home in homes for file in home.glob("3.10.*/bin/python3.10"))
    on_path = shutil.which("python3.10")
    works = on_path and subprocess.run([on_path, "--version"], capture_output=True).returncode == 0
    return Path(on_path) if works and on_path else (found[-1] if found else None)


@pytest.mark.slow
def test_python_3_10_verifies_a_release(wheel: Path, tmp_path: Path) -> None:
    """The whole device side with the base dependencies and one runtime, no torch."""
    python = find_python_3_10()
    if python is None:
        pytest.skip("there is no Python 3.10 here: install it, or put python3.10 on PATH")
    call(python, "-m", "venv", tmp_path / "venv")
    pip = (tmp_path / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "install", f"{wheel}[onnxruntime]")
    release = tmp_path / "release"
    recipe = [f"--out={release}", f"--store={tmp_path / 'store'}", "--target=onnxruntime"]
    short = ["--set=teacher.train.epochs=1", "--set=distill.epochs=1", "--set=gates=null"]
    call(sys.executable, "-m", "edgestill", "run", "digits", *recipe, *short, PWD=str(tmp_path))
    edgestill = tmp_path / "venv/bin/edgestill"
    assert "NOT RUN" in call(edgestill, "verify", release)
    assert "p95" in call(edgestill, "profile", release, "--rounds", "2")
    assert "onnxruntime" in call(edgestill, "targets")
