"""How a call ends when something is wrong: the text a user reads, and the exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from edgestill import errors
from edgestill.cli.group import COMMANDS, group
from edgestill.cli.main import INTERRUPTED, PIPE_CLOSED, explain, run
from edgestill.errors import EdgestillError, ExitCode, RecipeError, UsageError

USAGE = ("UsageError", "DataError", "ModelError", "ExportError")
ENVIRONMENT = ("EnvironmentFailure", "MissingExtra", "DeviceError", "DamagedRelease", "StoreError")


@pytest.mark.parametrize(
    ("name", "code"),
    [*((name, 2) for name in USAGE), *((name, 3) for name in ENVIRONMENT)],
)
def test_error_says_what_where_and_fix(name: str, code: int) -> None:
    error = getattr(errors, name)("it is not there", where="recipe.yaml:3", fix="Put it there")
    text, found = explain(error)
    assert text == "error: recipe.yaml:3: it is not there\n       Put it there"
    assert found == code


def test_every_error_class_is_covered_above() -> None:
    def below(cls: type[EdgestillError]) -> set[str]:
        # A private one is caught where it is raised.
        public = [child for child in cls.__subclasses__() if not child.__name__.startswith("_")]
        return {cls.__name__}.union(*map(below, public))

    assert below(EdgestillError) == {*USAGE, *ENVIRONMENT, "EdgestillError", "RecipeError"}


def test_every_problem_of_a_recipe_is_listed() -> None:
    problems = [
        UsageError("unknown key", where="recipe.yaml:3: nmae", fix="Did you mean name?"),
        UsageError("missing", where="recipe.yaml: data"),
    ]
    text, code = explain(RecipeError(problems))
    assert text.splitlines() == [
        "error: recipe.yaml:3: nmae: unknown key",
        "       Did you mean name?",
        "error: recipe.yaml: data: missing",
        "2 problems",
    ]
    assert code == 2


def test_internal_error_names_its_place_and_asks_for_a_report() -> None:
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError as error:
        text, code = explain(error)
    first, second = text.splitlines()
    assert first.startswith("internal error: ZeroDivisionError: division by zero (")
    assert "test_errors.py:" in first
    assert "--debug" in second and "report" in second
    assert code == 3


def test_internal_error_without_words() -> None:
    text, _ = explain(AssertionError())
    assert text.splitlines()[0] == "internal error: AssertionError"


def test_a_broken_pipe_of_a_worker_is_not_a_success() -> None:
    text, code = explain(BrokenPipeError(32, "Broken pipe"))
    assert code == 3 and "BrokenPipeError" in text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_says_that_the_next_run_goes_on(error: BaseException) -> None:
    text, code = explain(error)
    assert code == INTERRUPTED == 130
    assert text.startswith("interrupted") and "goes on where this one stopped" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rum"], "error: No such command 'rum'. Did you mean run?"),
        (["rum"], "See edgestill --help"),
        (["verfy", "x"], "Did you mean verify?"),
        (["run", "digits", "--taget", "openvino"], "'--target'"),
        (["run", "digits", "--frsh"], "'--fresh'"),
        (["run"], "error: Missing argument 'RECIPE'."),
        (["run"], "See edgestill run --help"),
        (["report", "x", "--format", "pdf"], "'terminal', 'markdown', 'json'"),
        (["store"], "error: Missing command."),
        (["store", "lss"], "No such command 'lss'"),
        (["store", "gc", "--keep-days", "-1"], "-1"),
        (["report", "no-such-folder"], "error: no-such-folder: there is no report (No such file"),
    ],
)
def test_wrong_calls(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert "Traceback" not in err


def test_no_command_shows_the_help_and_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    shown = capsys.readouterr()
    assert run(["--help"]) == 0
    asked = capsys.readouterr()
    assert shown.out == asked.err == "" and shown.err == asked.out
    assert all(f"\n  {name} " in asked.out for name in COMMANDS)


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", "no-such-folder"]
    run(["--debug", *arguments] if place == "before" else [*arguments, "--debug"])
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "\nerror: no-such-folder: there is no report (No such file or directory)\n" in err


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """`edgestill run` with a verb that only raises."""

    def call(error: BaseException) -> int:
        def run_recipe(*_: object, **__: object) -> None:
            raise error

        module = ModuleType("edgestill.api.run")
        module.run_recipe = run_recipe  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "edgestill.api.run", module)
        return run(["run", "digits"])

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ModelError("no"), 2),
        (errors.DeviceError("no"), 3),
        (RuntimeError("no"), 3),
        (MemoryError(), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_of_a_verb(
    error: BaseException,
    code: int,
    run_with: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_with(error) == code
    out, err = capsys.readouterr()
    assert out == "" and 1 <= len(err.splitlines()) <= 3


def test_error_text_survives_an_encoding_that_lacks_its_letters() -> None:
    code = (
        "import sys; from edgestill.cli import run; sys.exit(run(['report', 'm\\u00fcll\\u00b5']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"there is no report" in done.stderr and b"Traceback" not in done.stderr


def piped_into_nothing(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code whose standard output has no reader."""
    command = f"{sys.executable} -c '{code}' | true; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_into_a_closed_pipe_is_quiet() -> None:
    code = (
        "import sys, time; from edgestill.cli import run; time.sleep(0.2); "
        'sys.exit(run(["--help"]))'
    )
    done = piped_into_nothing(code)
    assert done.returncode == PIPE_CLOSED
    assert done.stderr == ""


def test_a_closed_pipe_does_not_change_a_verdict() -> None:
    code = (
        "import sys, time; from edgestill.cli.output import write_result; "
        "from edgestill.cli.main import _finished; time.sleep(0.2); "
        'write_result("verdict"); sys.exit(_finished(4))'
    )
    done = piped_into_nothing(code)
    assert done.returncode == ExitCode.INCONCLUSIVE
    assert done.stderr == ""


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgestill {version('edgestill')}\n"


def test_the_table_of_commands_is_that_of_the_modules() -> None:
    import edgestill.cli

    folder = Path(edgestill.cli.__file__).parent
    context = click.Context(group)
    for name, words in COMMANDS.items():
        assert (folder / f"{name}.py").is_file()
        command = group.get_command(context, name)
        assert command is not None and command.short_help == words
