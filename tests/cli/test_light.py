"""What help and the package itself may load, and how long help may take."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgestill


def loaded_modules(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(['', *sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_import_of_the_package_loads_nothing_else() -> None:
    added = loaded_modules("import edgestill") - loaded_modules("pass")
    ours = {name for name in added if name.startswith("edgestill")}
    assert ours == {"edgestill"}
    assert not {name.partition(".")[0] for name in added} & {"click", "rich", "numpy", "pydantic"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["doctor", "-h"]])
def test_help_loads_click_alone(arguments: list[str]) -> None:
    loaded = loaded_modules(f"from edgestill.cli import run\nassert run({arguments!r}) == 0")
    third_party = {"rich", "numpy", "pydantic", "yaml", "filelock", "torch", "onnx"}
    assert "click" in loaded
    assert not {name.partition(".")[0] for name in loaded} & third_party
    assert not {name for name in loaded if name.startswith("edgestill.api")}


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(edgestill.__all__) <= set(dir(edgestill))
    with pytest.raises(AttributeError, match="has no attribute 'run_recipes'"):
        edgestill.run_recipes  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", edgestill.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(edgestill, name) is not None
