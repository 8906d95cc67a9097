"""Where only the base is installed: what building needs is said, with how to get it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Project

# Torch can be neither imported nor found among the installed distributions.
WITHOUT_TORCH = """
import importlib.machinery, importlib.metadata, json, sys

finder, listed = importlib.machinery.PathFinder, importlib.metadata.Distribution
find, from_name = finder.find_spec, listed.from_name


def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] == "torch" else find(name, path, target)


def named(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(name)


finder.find_spec, listed.from_name = classmethod(find_spec), named
from edgestill.cli import run

codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
print("codes", codes)
"""

FIX = "Install it: pip install 'edgestill[build]'"


def called(project: Project, *calls: list[str]) -> tuple[list[int], str]:
    """The exit codes of some calls where torch is not installed, and all that they printed."""
    store = ["--store", str(project.store)]
    arguments = json.dumps([[*call, str(project.recipe), *store] for call in calls])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        cwd=project.folder,
        timeout=120,
    )
    text, _, codes = done.stdout.rpartition("codes ")
    return json.loads(codes), text


def test_a_plan_needs_no_torch_to_say_that_a_run_ends_before_any_work(new_project: Project) -> None:
    codes, text = called(new_project, ["plan"], ["run", "--out", str(new_project.release)])
    assert codes == [3, 3]
    assert "unknown  student                      until data\n" in text
    assert "\nA run would end before any work, exit code 3\n" in text
    assert (
        f"problem: {new_project.recipe}: this needs the extra build (not installed: torch)" in text
    )
    assert f"recipe.yaml: this needs the extra build (not installed: torch)\n       {FIX}" in text
    assert not list(new_project.store.glob("objects/*/*"))


def test_doctor_goes_as_far_as_it_can(new_project: Project) -> None:
    codes, text = called(new_project, ["doctor"])
    assert codes == [3]
    assert f"problem  check: torch is not installed\n         {FIX}\n" in text


@pytest.mark.parametrize(
    ("code", "line"),
    [("import torch\ndef data(): ...\n", 1), ("def data():\n    import torch\n", 2)],
    ids=["at the top", "within"],
)
def test_a_function_of_the_user_that_needs_it(new_project: Project, code: str, line: int) -> None:
    (new_project.folder / "own.py").write_text(code, "utf-8")
    new_project.replace("recipe.yaml", "data.npz", "'own.py:data', files: [own.py]")
    codes, text = called(new_project, ["doctor"])
    assert codes == [3]
    what = f"problem  data: own.py:data (own.py:{line}): it imports torch, which is not installed"
    assert f"{what}\n         {FIX}\n" in text
