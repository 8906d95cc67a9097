"""`edgestill doctor`: what is wrong with this machine, or with a recipe on it.

The installed versions are read from metadata, so that a library that cannot be imported is still
told about.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.api.requirements import Requirement, requirements_of
from edgestill.errors import EdgestillError, ExitCode, RecipeError, UsageError
from edgestill.installed import installed_version

if TYPE_CHECKING:
    from edgestill.console import Console
    from edgestill.recipe import Recipe
    from edgestill.runner import Runner

_DISTRIBUTION = "edgestill"
_NOT_FOR_USERS = {"dev"}
_TRIED = ("data", "check")  # the steps of a plan that need no training
# Each of these brings the module `onnxruntime`: of two, one overwrites files of the other.
_SAME_MODULE = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-training",
)


class State(str, Enum):
    """How a finding is meant: only a problem changes the exit code."""

    OK = "ok"
    ABSENT = "absent"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        fix: what to do about it; empty when nothing has to be done.
        exit_code: of a problem: a wrong recipe, or an environment that fails.
    """

    subject: str
    state: State
    found: str
    fix: str = ""
    exit_code: ExitCode = ExitCode.PASSED


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> ExitCode:
        codes = {finding.exit_code for finding in self.findings}
        order = (ExitCode.USAGE, ExitCode.ENVIRONMENT)
        return next((code for code in order if code in codes), ExitCode.PASSED)


def diagnose(
    recipe: str | None = None,
    *,
    overrides: Sequence[str] = (),
    store: Path | None = None,
    console: Console | None = None,
) -> Diagnosis:
    """Look at versions, conflicts and targets; with a recipe, also try it without training.

    Its data is read and split, and one batch goes through its models, losses and exporter. What
    that computes is kept in the store, so that a run does not compute it again.

    Args:
        recipe: a file, or the name of a preset.
        overrides: `key.path=value`, as in `distill.epochs=5`.
        store: where results are kept; by default `$EDGESTILL_STORE` or `.edgestill`.
    """
    findings = [*_versions(), *_conflicts()]
    if recipe is None:
        return Diagnosis((*findings, *_targets(None)))
    from edgestill.api.run import require_runnable
    from edgestill.recipe import load_recipe

    try:
        loaded = load_recipe(recipe, overrides)
    except EdgestillError as error:
        return Diagnosis((*findings, *_targets(None), *_problems("recipe", error)))
    words = f"{loaded.name}: {loaded.task}, {len(loaded.targets)} targets, no static problem"
    findings += [*_targets(loaded), Finding("recipe", State.OK, words)]
    try:
        require_runnable(loaded)
    except UsageError as error:
        findings += _problems("recipe", error)
    except EdgestillError:
        pass  # a target that cannot run here: told above
    return Diagnosis((*findings, *_trial(loaded, store, console)))


def _versions() -> Iterable[Finding]:
    """Ourselves, what we need, and each extra."""
    machine = f"{platform.system()} {platform.machine()}"
    mine = f"{version(_DISTRIBUTION)}, Python {platform.python_version()}, {machine}"
    yield Finding(_DISTRIBUTION, State.OK, mine)
    by_extra: dict[str | None, list[Requirement]] = {}
    for requirement in requirements_of(_DISTRIBUTION):
        if requirement.extra not in _NOT_FOR_USERS:
            by_extra.setdefault(requirement.extra, []).append(requirement)
    for extra, needed in by_extra.items():
        yield _complete(extra, needed)
        for requirement in needed:
            found = installed_version(requirement.name)
            if found is not None and not requirement.allows(found):
                yield Finding(
                    requirement.name,
                    State.PROBLEM,
                    f"{found} is installed, {_DISTRIBUTION} needs {requirement.range}",
                    f"pip install '{requirement.name}{requirement.range}'",
                    ExitCode.ENVIRONMENT,
                )


def _complete(extra: str | None, needed: Sequence[Requirement]) -> Finding:
    found = {requirement.name: installed_version(requirement.name) for requirement in needed}
    missing = [name for name, installed in found.items() if installed is None]
    listed = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed)
    subject = f"extra {extra}" if extra else "needed always"
    if not missing:
        return Finding(subject, State.OK, listed)
    fix = f"pip install '{_DISTRIBUTION}[{extra}]'" if extra else f"pip install {_DISTRIBUTION}"
    if extra is None:
        words = f"not installed: {', '.join(missing)}"
        return Finding(subject, State.PROBLEM, words, fix, ExitCode.ENVIRONMENT)
    return Finding(subject, State.ABSENT, f"not installed: {', '.join(missing)}", fix)


def _conflicts() -> Iterable[Finding]:
    """Installed versions that do not go together."""
    shared = [name for name in _SAME_MODULE if installed_version(name)]
    if len(shared) > 1:
        yield Finding(
            "onnxruntime",
            State.PROBLEM,
            f"{' and '.join(shared)} are installed, and each brings the module onnxruntime",
            f"pip uninstall {' '.join(shared)}, then install the one that you need",
            ExitCode.ENVIRONMENT,
        )
    torch, vision = installed_version("torch"), installed_version("torchvision")
    if torch and vision and _build(torch) != _build(vision):
        yield Finding(
            "torchvision",
            State.WARNING,
            f"torch {torch} and torchvision {vision} are of different builds, and libraries that "
            "import torchvision may end in: operator torchvision::nms does not exist",
            "pip uninstall torchvision (edgestill needs none), or install both from one index",
        )
    yield from _broken_requirements()


def _build(found: str) -> str:
    """The build of a version of torch: `cpu` of `2.13.0+cpu`."""
    return found.partition("+")[2]


def _broken_requirements() -> Iterable[Finding]:
    """Of everything that we lead to and that is installed: what one needs and another is not."""
    waiting = [requirement.name for requirement in requirements_of(_DISTRIBUTION)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        found = installed_version(name)
        if name in seen or found is None:
            continue
        seen.add(name)
        for needed in requirements_of(name):
            if needed.extra is not None:
                continue
            waiting.append(needed.name)
            other = installed_version(needed.name)
            if other is None:
                words = f"{name} {found} needs {needed.name}, which is not installed"
                yield Finding(name, State.WARNING, words, f"pip install {needed.name}")
            elif not needed.allows(other):
                yield Finding(
                    name,
                    State.WARNING,
                    f"{name} {found} needs {needed.name}{needed.range}, installed is {other}",
                    f"pip install '{needed.name}{needed.range}' or another version of {name}",
                )


def _targets(recipe: Recipe | None) -> Iterable[Finding]:
    """What each target can do here; with a recipe, whether that is what it asks for."""
    from edgestill.targets import TARGETS, get_target

    wanted = {target.target: target.verify for target in recipe.targets} if recipe else {}
    for name in TARGETS:
        found = get_target(name).probe()
        able = {"compile": found.can_compile, "run": found.can_run}
        can = " and ".join(word for word, yes in able.items() if yes)
        words = f"can {can} here" if can else "cannot be used here"
        words = f"{found.version}: {words}" if found.version else words
        words = f"{words} ({found.reason})" if found.reason else words
        subject = f"target {name}"
        needed = {"here": "run", "elsewhere": "compile"}.get(wanted.get(name, ""))
        if needed and not able[needed]:
            fix = found.fix or "Leave this target out"
            what = f"the recipe asks it to {needed} here. {words}"
            yield Finding(subject, State.PROBLEM, what, fix, ExitCode.ENVIRONMENT)
        elif can:
            yield Finding(subject, State.OK, words)
        else:
            yield Finding(subject, State.ABSENT, words, found.fix)


def _trial(recipe: Recipe, store: Path | None, console: Console | None) -> Iterable[Finding]:
    """The steps that need no training, each with what it found."""
    from edgestill.api.opening import open_store
    from edgestill.console import Console
    from edgestill.planner import make_plan
    from edgestill.runner import Runner

    console = console or Console()
    opened = open_store(store, console)
    log = opened.root / "logs" / f"doctor-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    runner = Runner(make_plan(recipe), opened, console, log)
    failed: str | None = None
    for name in _TRIED:
        if name not in runner.plan.steps:
            continue
        if failed is not None:
            yield Finding(name, State.ABSENT, f"not tried, since {failed} failed")
            continue
        findings = list(_tried(runner, name))
        yield from findings
        failed = name if any(finding.exit_code for finding in findings) else None


def _tried(runner: Runner, name: str) -> Iterable[Finding]:
    try:
        entry = runner.resolve(name)
    except EdgestillError as error:
        yield from _problems(name, error)
    else:
        how = "found in the store" if entry.hit else f"done in {entry.seconds:.1f} s"
        yield Finding(name, State.OK, how)


def _problems(subject: str, error: EdgestillError) -> Iterable[Finding]:
    parts = error.problems if isinstance(error, RecipeError) else (error,)
    for part in parts:
        what = f"{part.where}: {part.what}" if part.where else part.what
        yield Finding(subject, State.PROBLEM, what, part.fix or "", error.exit_code)
