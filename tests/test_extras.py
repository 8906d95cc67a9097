"""Optional libraries: what is missing, broken or hollow is said, with how to get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgestill.errors import MissingExtra
from edgestill.extras import folder_of, installed, require


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are found in."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_what_is_there_is_imported(library: Path) -> None:
    (library / "there_it_is.py").write_text("VALUE = 7\n", "utf-8")
    assert installed("there_it_is")
    assert require("there_it_is", extra="build").VALUE == 7


def test_what_is_not_installed_names_the_extra() -> None:
    assert not installed("not_anywhere")
    with pytest.raises(MissingExtra) as raised:
        require("not_anywhere", extra="openvino")
    assert str(raised.value) == (
        "not_anywhere is not installed. Install it: pip install 'edgestill[openvino]'"
    )


BROKEN = {
    "lacks another": (
        "import not_anywhere",
        r"broken is installed but lacks not_anywhere\. Install",
    ),
    "fails": ("raise OSError('no libfoo.so')", r"broken is installed but cannot be imported \(no"),
}


@pytest.mark.parametrize(("code", "words"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_imported_says_why(library: Path, code: str, words: str) -> None:
    (library / "broken.py").write_text(code, "utf-8")
    with pytest.raises(MissingExtra, match=words):
        require("broken", extra="build")


def test_a_folder_that_an_uninstall_left_is_no_library(library: Path) -> None:
    (library / "hollow" / "cache").mkdir(parents=True)
    with pytest.raises(
        MissingExtra, match=r"hollow is a folder without code \(.*hollow\)\. Remove"
    ):
        require("hollow", extra="openvino")


def test_the_folder_of_a_package_is_found_without_importing_it() -> None:
    code = (
        "import sys; from edgestill.extras import folder_of; "
        "print(folder_of('onnxruntime', extra='build').name, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["onnxruntime", "False"]
    with pytest.raises(MissingExtra, match=r"no_such_thing is not installed. Install it: pip"):
        folder_of("no_such_thing", extra="build")
