"""The examples for CI: every command that they call is one, and no exit code is lost."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml

from edgestill.cli.group import group
from edgestill.errors import ExitCode
from edgestill.report.build import make_report
from edgestill.report.formats import BESIDE, FORMATS
from edgestill.report.model import Report
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text("utf-8")
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "gitlab-ci.yml").read_text("utf-8"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(WORKFLOW,) = (yaml.safe_load(text) for language, text in BLOCKS if language == "yaml")


def scripts() -> Iterator[str]:
    yield from (step["run"] for step in ACTION["runs"]["steps"] if "run" in step)
    for job in GITLAB.values():
        yield from (*job["before_script"], *job["script"], *job["after_script"])
    yield from (text for language, text in BLOCKS if not language)


def calls() -> list[str]:
    """What follows `edgestill` in every line that calls it."""
    joined = "\n".join(scripts()).replace("\\\n", " ")
    return re.findall(r"^\s*edgestill ([^|\n]*)", joined, re.MULTILINE)


@pytest.mark.parametrize("call", calls())
def test_every_command_and_option_is_one(call: str) -> None:
    arguments = shlex.split(call.replace("$ARGUMENTS", "--target onnxruntime"))
    command = group.get_command(click.Context(group), arguments[0])
    assert command is not None
    # Raises where an option, a choice or the number of arguments is wrong.
    command.make_context(arguments[0], arguments[1:])


def test_all_three_examples_call_it() -> None:
    names = [call.split()[0] for call in calls()]
    assert names == ["run", "verify", "report", "run", "report", "run", "report", "compare"]


def test_the_page_has_every_format_exit_code_and_input() -> None:
    assert [name for name in FORMATS if f"| `{name}` |" not in PAGE] == []
    assert [suffix for suffix in BESIDE if f"`report{suffix}`" not in PAGE] == []
    first = PAGE.partition("\n## ")[0]
    assert [int(code) for code in ExitCode if not re.search(rf"\b{int(code)}\b", first)] == []
    assert [name for name in ACTION["inputs"] if f"`{name}`" not in PAGE] == []
    assert [name for name in ACTION["outputs"] if f"`{name}`" not in PAGE] == []


def test_the_workflow_gives_inputs_and_reads_outputs_that_are_there() -> None:
    steps = WORKFLOW["jobs"]["edgestill"]["steps"]
    (step,) = [step for step in steps if step.get("id") == "edgestill"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    read = re.findall(r"steps\.edgestill\.outputs\.([\w-]+)", str(steps))
    assert read and set(read) <= set(ACTION["outputs"])


def test_the_action_is_a_composite_one_as_github_reads_it() -> None:
    runs = ACTION["runs"]
    assert runs["using"] == "composite"
    for step in runs["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "run" not in step or step["shell"] == "bash", "a composite step names its shell"
        # What a user gives arrives by the environment: in a script it would be code.
        assert "${{" not in step.get("run", "")
    text = str(runs["steps"])
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    ids = {step.get("id") for step in runs["steps"]}
    written = set(re.findall(r'echo "([\w-]+)=', text))
    for output in ACTION["outputs"].values():
        ((step, name),) = re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", output["value"])
        assert step in ids and name in written


def test_what_follows_the_run_is_not_left_out_when_it_fails() -> None:
    steps = ACTION["runs"]["steps"]
    after = steps[[step.get("id") for step in steps].index("edgestill") + 1 :]
    assert len(after) == 2 and all(step["if"].startswith("always()") for step in after)
    assert GITLAB["edgestill"]["artifacts"]["when"] == "always"
    (report,) = GITLAB["edgestill"]["after_script"]
    assert report.endswith(f"--out {GITLAB['edgestill']['artifacts']['reports']['junit']}")


def report(verdict: Verdict) -> Report:
    """With one gate, which ended so."""
    return make_report(
        kind="run",
        name="digits",
        task="classification",
        metric="accuracy",
        bigger_is_better=True,
        seed=0,
        threads=1,
        splits={"test": 9},
        evaluation="e" * 64,
        models=(),
        hops=(),
        targets=(),
        gates=(GateResult("size", "cpu fp32", verdict, "size <= 1 kB", "2 kB"),),
        steps=(),
        fingerprint=Fingerprint.read(),
    )


@pytest.fixture
def step(tmp_path: Path) -> Callable[..., tuple[int, dict[str, str], str]]:
    """The action's own script, run by bash as the runner does; exit code, outputs and log.

    Its `edgestill run` writes the report that is given and ends with its exit code, instead of a
    training; every other call is the real command line.
    """
    (script,) = [s["run"] for s in ACTION["runs"]["steps"] if s.get("id") == "edgestill"]
    (tmp_path / "step.sh").write_text(script, "utf-8")
    (tmp_path / "bin").mkdir()

    def execute(found: Report | None = None, **inputs: str) -> tuple[int, dict[str, str], str]:
        (tmp_path / "written.json").write_text(found.to_json() if found else "", "utf-8")
        code = int(found.exit_code) if found else 0
        program = tmp_path / "bin" / "edgestill"
        program.write_text(
            "#!/usr/bin/env bash\n"
            'if [ "$1" = run ] && [ -s written.json ]; then\n'
            '  mkdir -p "$4" && cp written.json "$4/report.json"\n'
            f"  exit {code}\n"
            "fi\n"
            f'exec {shlex.quote(sys.executable)} -m edgestill "$@"\n',
            "utf-8",
        )
        program.chmod(0o755)
        outputs = tmp_path / "outputs"
        outputs.write_text("", "utf-8")
        paths = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent)])
        environment = {
            **os.environ,
            "PATH": f"{paths}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(outputs),
            "RECIPE": "", "RELEASE": "", "ARGUMENTS": "", "OUT": "dist/model",
            "EDGESTILL_STORE": "store",
            **inputs,
        }  # fmt: skip
        # As GitHub's runner calls `shell: bash`.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        lines = outputs.read_text("utf-8").splitlines()
        written = dict(line.split("=", 1) for line in lines)
        return done.returncode, written, done.stdout + done.stderr

    return execute


Step = Callable[..., tuple[int, dict[str, str], str]]


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.INCONCLUSIVE, 4)]
)
def test_the_action_ends_with_the_exit_code_and_reports_all_the_same(
    step: Step, tmp_path: Path, verdict: Verdict, code: int
) -> None:
    ended, outputs, _ = step(report(verdict), RECIPE="digits")
    assert ended == code
    assert outputs == {
        "exit-code": str(code),
        "verdict": str(verdict),
        "report": "dist/model/report.json",
        "junit": "dist/model.junit.xml",
    }
    suites = ElementTree.parse(tmp_path / outputs["junit"]).getroot()
    wrong = int(suites.get("failures", "")) + int(suites.get("errors", ""))
    assert (suites.get("tests"), wrong) == ("1", int(code != 0))


def test_a_call_that_is_wrong_ends_so_without_a_report(step: Step) -> None:
    code, outputs, log = step(RECIPE="no-such-recipe")
    assert (code, outputs) == (2, {"exit-code": "2"})
    assert "error: no-such-recipe" in log


def test_a_report_that_lay_there_before_is_not_taken_for_a_new_one(
    step: Step, tmp_path: Path
) -> None:
    step(report(Verdict.PASS), RECIPE="digits")
    earlier = time.time() - 60
    os.utime(tmp_path / "dist/model/report.json", (earlier, earlier))
    code, outputs, _ = step(RECIPE="no-such-recipe")
    assert (code, outputs) == (2, {"exit-code": "2"})


@pytest.mark.parametrize("inputs", [{}, {"RECIPE": "digits", "RELEASE": "dist"}])
def test_the_action_wants_a_recipe_or_a_release(step: Step, inputs: dict[str, str]) -> None:
    code, outputs, log = step(**inputs)
    assert (code, outputs["exit-code"]) == (2, "2")
    assert "Give one of the inputs recipe and release" in log


def test_the_action_verifies_a_release(step: Step, tmp_path: Path) -> None:
    code, outputs, log = step(RELEASE="no-such-release", OUT="reports/model")
    assert (code, outputs) == (2, {"exit-code": "2"})
    assert "there is no such folder" in log
    assert (tmp_path / "reports").is_dir()
