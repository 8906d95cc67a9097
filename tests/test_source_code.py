"""The digest of code: what a callable can import counts, everything else does not."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from edgestill.errors import DataError, ModelError
from edgestill.reference import load
from edgestill.source_code import CodeDigest, code_digest, stage_digest, undeclared

# A project with imports of every kind; `unused` and `tests` are reached by none.
PROJECT = {
    "model.py": """
        import json, torch
        import nets.blocks as blocks
        from layers import attention as attend
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import only_for_types
        def student(width: int = 8):
            try:
                from fast import kernels
            except ImportError:
                pass
            match width:
                case 8:
                    import importlib
                    return importlib.import_module("dynamic.wide")
        class Net: ...
        if True:
            with open(__file__) as source, open(__file__) as other:
                small, (*rest, last) = student, (Net, Net)
    """,
    "nets/__init__.py": "from . import registry",
    "nets/registry.py": "",
    "nets/blocks.py": "from .deep.inner import thing\nfrom nets import norms, name_not_module",
    "nets/norms.py": "from model import student",
    "nets/unused.py": "",
    "nets/deep/__init__.py": "",
    "nets/deep/inner.py": "from ... import beyond\nfrom .. import shared\nthing = 1",
    "nets/shared.py": "import PIL.Image",
    "layers/attention.py": "import edgestill.errors\nfrom edgestill.stats import scores",
    "fast/__init__.py": "",
    "fast/kernels.py": "",
    "dynamic/__init__.py": "",
    "dynamic/wide.py": "",
    "only_for_types.py": "",
    "unused.py": "",
    "tests/model.py": "",
    "broken/late.py": "def f(:",
    "wrong.py": "\n\ndef f(:\n    pass\n",
    "lazy.py": "def __getattr__(name): ...",
    "star.py": "from nets.blocks import *",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(line.removeprefix("        ") for line in text.split("\n")))
    return tmp_path / "project"


REACHED = {
    *("model.py", "nets/__init__.py", "nets/registry.py", "nets/blocks.py", "nets/norms.py"),
    *("nets/deep/__init__.py", "nets/deep/inner.py", "nets/shared.py", "layers/attention.py"),
    *("fast/__init__.py", "fast/kernels.py", "dynamic/__init__.py", "dynamic/wide.py"),
}


def local(digest: CodeDigest) -> set[str]:
    return {name for name in digest.files if not name.startswith("edgestill/")}


@pytest.mark.parametrize("reference", ["model.py:student", "model:student"])
def test_every_local_file_that_an_import_can_reach_counts(reference: str, project: Path) -> None:
    digest = code_digest(reference, project)
    assert local(digest) == REACHED
    assert "edgestill/errors.py" in digest.files
    assert "edgestill/stats/scores.py" in digest.files


def test_libraries_count_by_the_version_of_their_distribution(project: Path) -> None:
    expected = {name: version(name) for name in ("numpy", "pillow", "torch")}
    assert dict(code_digest("model.py:student", project).libraries) == expected


def test_nothing_is_imported(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgestill.source_code import *\n"
        f"code_digest('model.py:student', Path({str(project)!r}))\n"
        f"stage_digest('edgestill.distill.stage')\n"
        "print([name for name in ('torch', 'numpy', 'PIL', 'nets', 'model', 'edgestill.distill')"
        " if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_a_change_of_a_reached_file_and_of_no_other_changes_the_digest(project: Path) -> None:
    before = code_digest("model.py:student", project)
    for name in PROJECT:
        file = project / name
        text = file.read_text()
        file.write_text(text + "\n")
        assert (code_digest("model.py:student", project) != before) == (name in REACHED), name
        file.write_text(text)
    assert code_digest("model.py:student", project) == before


def test_a_module_that_appears_counts_from_then_on(project: Path) -> None:
    before = code_digest("model.py:student", project)
    (project / "nets" / "name_not_module.py").write_text("")
    assert local(code_digest("model.py:student", project)) - local(before) == {
        "nets/name_not_module.py"
    }


def test_a_moved_project_keeps_its_digest(project: Path, tmp_path: Path) -> None:
    before = code_digest("model.py:student", project)
    project.rename(tmp_path / "moved")
    after = code_digest("model.py:student", tmp_path / "moved")
    assert before == after
    assert before.places != after.places
    assert before.parts == {"files": before.files, "libraries": before.libraries}


def test_a_file_in_a_folder_finds_its_neighbours_as_when_it_is_loaded(project: Path) -> None:
    (project / "nets" / "entry.py").write_text("import norms\ndef build(): ...\n")
    digest = code_digest("nets/entry.py:build", project)
    # norms.py imports `model`, which is not beside it.
    assert set(digest.files) == {"entry.py", "norms.py"}


def test_a_package_of_the_current_folder_is_found(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    digest = code_digest("nets.deep.inner:thing", tmp_path)
    assert set(digest.files) == {f"nets/{n}.py" for n in ("__init__", "registry", "shared")} | {
        "nets/deep/__init__.py",
        "nets/deep/inner.py",
    }


def test_a_callable_of_a_library_is_its_version(tmp_path: Path) -> None:
    digest = code_digest("torch.nn:Linear", tmp_path)
    assert digest.parts == {"files": {}, "libraries": {"torch": version("torch")}}
    assert code_digest("collections:OrderedDict", tmp_path).parts == {"files": {}, "libraries": {}}


def test_a_callable_of_our_own_is_our_files(tmp_path: Path) -> None:
    files = code_digest("edgestill.units:quantity", tmp_path).files
    assert list(files) == ["edgestill/units.py"]


@pytest.mark.parametrize("name", ["student", "Net", "small", "rest", "last", "attend", "source"])
def test_whatever_a_module_binds_counts_as_defined(name: str, project: Path) -> None:
    code_digest(f"model.py:{name}", project)


@pytest.mark.parametrize("reference", ["lazy.py:anything", "star.py:anything"])
def test_a_module_that_may_define_anything_is_believed(reference: str, project: Path) -> None:
    code_digest(reference, project)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            "model.py:studnet",
            "model.py:studnet: there is no 'studnet' in model.py. Did you mean 'student'?",
        ),
        ("modle.py:student", "there is no file {project}/modle.py. Did you mean 'model.py'?"),
        ("nowhere.models:student", "there is no module nowhere.models. Install it, or run from"),
        ("nets.nothing:student", "there is no module nets.nothing. Install it"),
        ("wrong.py:f", "wrong.py:f: wrong.py is not Python: line 3, invalid syntax"),
        ("model.py", "'model.py' is not a reference to a callable. Write file.py:callable or"),
        ("model.py:width", "there is no 'width' in model.py"),
    ],
)
def test_an_error_says_what_where_and_the_fix(reference: str, expected: str, project: Path) -> None:
    with pytest.raises(ModelError) as raised:
        code_digest(reference, project)
    assert expected.format(project=project) in str(raised.value)


def test_the_caller_chooses_the_kind_of_error(project: Path) -> None:
    with pytest.raises(DataError):
        code_digest("missing.py:samples", project, DataError)


def test_a_syntax_error_in_what_is_imported_is_left_to_the_import(project: Path) -> None:
    (project / "late.py").write_text("def f():\n    import broken.late\n")
    assert set(code_digest("late.py:f", project).files) == {"late.py", "broken/late.py"}


def test_a_file_that_only_running_the_code_finds_is_undeclared(tmp_path: Path) -> None:
    base = tmp_path / "recipe"
    base.mkdir()
    (base / "metric_beside.py").write_text("def score(): ...\n")
    (base / "static_part.py").write_text("")
    (base / "hidden_part.py").write_text("")
    (base / "hidden_model.py").write_text(
        "import static_part\nnames = ['hidden_part']\nparts = [__import__(n) for n in names]\n"
        "def build(): ...\n"
    )
    reference = "hidden_model.py:build"
    digests = [code_digest(name, base) for name in (reference, "metric_beside.py:score")]
    before = set(sys.modules)
    for name in (reference, "metric_beside.py:score"):
        load(name, base, ModelError)
    # Modules that are made of no file may name one, which then seems to lie in the cwd.
    sys.modules["made"] = ModuleType("made")
    sys.modules["made"].__file__ = str(base / "_made.py")
    assert undeclared(*digests, before=before) == [base / "hidden_part.py"]
    assert undeclared(*digests, before=set(sys.modules)) == []
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_digest_of_a_stage_is_our_files_that_it_imports() -> None:
    files = stage_digest("edgestill.store")
    assert {"store/__init__.py", "store/lock.py", "digest.py", "errors.py"} <= set(files)
    assert "source_code/__init__.py" not in files
    # The root holds the version and lazy names: it must not tie a result to them.
    assert "__init__.py" not in files


def test_the_digest_of_several_modules_covers_each() -> None:
    together = stage_digest("edgestill.units", "edgestill.store.lock")
    assert together == stage_digest("edgestill.units") | stage_digest("edgestill.store.lock")


def test_a_stage_that_does_not_exist_has_no_digest() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"edgestill has no module edgestill.distil"):
        stage_digest("edgestill.distil")


def test_our_targets_are_found_where_they_are() -> None:
    assert "targets/__init__.py" in stage_digest("edgestill.targets")
