"""What is wrong with this machine: versions, packages that do not go together, targets.

The installed versions are read from metadata, so that a library that cannot be imported is still
told about.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgestill.api.doctor.findings import Finding, State
from edgestill.api.requirements import Requirement, requirements_of
from edgestill.errors import DeviceError, ExitCode
from edgestill.installed import installed_version

if TYPE_CHECKING:
    from edgestill.recipe import Recipe
    from edgestill.targets.energy import Meter

_DISTRIBUTION = "edgestill"
_NOT_FOR_USERS = {"dev"}
# Each of these brings the module `onnxruntime`: of two, one overwrites files of the other.
_SAME_MODULE = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-training",
)


def versions() -> Iterable[Finding]:
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


def conflicts() -> Iterable[Finding]:
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


def targets(recipe: Recipe | None) -> Iterable[Finding]:
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


def meters() -> Iterable[Finding]:
    """Whether the energy of a sample can be measured here, by the processor and by a GPU."""
    from edgestill.targets.cuda import find_gpu
    from edgestill.targets.energy import find_meter

    yield _meter("energy of the processor", lambda: find_meter(gpu=False))
    with suppress(DeviceError):
        find_gpu()
        yield _meter("energy of the GPU", lambda: find_meter(gpu=True))


def _meter(subject: str, find: Callable[[], Meter]) -> Finding:
    try:
        return Finding(subject, State.OK, find().source)
    except DeviceError as error:
        return Finding(subject, State.ABSENT, f"not measured: {error.what}", error.fix or "")
