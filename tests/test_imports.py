"""Who may import whom, and what the light commands may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A module may import modules of its own layer or of a lower one; of the layers that hold several
# folders, a folder may not import its neighbours.
LAYERS = (
    {"errors", "digest", "units", "bounds", "config", "capture", "extras", "step", "user_files"}
    | {"verdict", "spelling", "installed", "arguments"},
    {"artifact", "stats", "quantities", "reference", "metric_config"},
    {"metrics"},
    {"source_code", "store", "console", "scoring", "onnx_file"},
    {"targets"},
    {"measuring", "data", "machine", "departures"},
    {"models"},
    {"train"},
    {"distill", "export", "quantize", "compile", "verify"},
    {"stages", "check"},
    {"recipe"},
    {"plan", "planner", "report", "templates", "companions"},
    {"runner", "release", "baseline"},
    {"api"},
    {"cli", "__init__", "__main__"},
)
NO_NEIGHBOURS = {"distill", "export", "quantize", "compile", "verify"}
TORCH_FREE = {
    "targets",
    "data",
    "verify",
    "stats",
    "metrics",
    "store",
    "planner",
    "runner",
    "report",
    "release",
    "scoring",
    "machine",
    "measuring",
    "departures",
    "api",
    "cli",
}


def room(module: str) -> str:
    """`edgestill.train.loop` lies in `train`."""
    return [*module.split("."), "__init__"][1]


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources() -> list[tuple[str, Path]]:
    found = []
    for folder, package in (
        (ROOT / "pipeline", "edgestill"),
        (ROOT / "targets", "edgestill.targets"),
    ):
        for file in sorted(folder.rglob("*.py")):
            if "templates" not in file.parts:
                parts = file.relative_to(folder).with_suffix("").parts
                found.append((".".join([package, *parts]), file))
    return found


@pytest.mark.parametrize(("module", "file"), sources(), ids=lambda value: str(value)[-40:])
def test_imports_run_one_way(module: str, file: Path) -> None:
    own = room(module)
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    assert own in height, f"{own} has no layer: give it one"
    for name in imports(file):
        if name.startswith("edgestill."):
            other = room(name)
            if other not in height:  # a function of edgestill itself
                continue
            assert height[other] <= height[own], f"{module} imports {name} from above"
            if own in NO_NEIGHBOURS and other in NO_NEIGHBOURS:
                assert other == own, f"the stage {own} imports the stage {other}"
        if name.split(".")[0] == "torch":
            assert own not in TORCH_FREE, f"{module} imports torch"


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.split(".")[0] for name in done.stdout.split()}


HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "nncf", "sklearn", "datasets", "tensorrt_rtx"}


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import edgestill", HEAVY | {"numpy", "pydantic", "click", "rich"}),
        ("import edgestill.cli", HEAVY | {"numpy", "pydantic", "rich"}),
        ("import edgestill.targets", HEAVY | {"numpy"}),
        ("import edgestill.api.plan", HEAVY | {"numpy"}),
        ("import edgestill.release, edgestill.verify.stage, edgestill.targets.measure", HEAVY),
    ],
)
def test_light_imports(code: str, forbidden: set[str]) -> None:
    assert not loaded_by(code) & forbidden
