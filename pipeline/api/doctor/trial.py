"""The whole way of a recipe, tried with a few samples by the stages that a run goes through.

Data and check are a run's own, and kept in its store. What follows is thrown away: models whose
training was one step long, int8, engines, and a few calls of each engine in its runtime.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from edgestill.api.cautions import cautions
from edgestill.api.doctor.findings import Finding, State, problems
from edgestill.api.doctor.miniature import miniature, write_sample
from edgestill.api.doctor.outcome import require_measurable, require_score
from edgestill.api.opening import import_index, open_store
from edgestill.api.readiness import crowding, hindrance
from edgestill.arguments import PathLike
from edgestill.artifact import Dataset
from edgestill.console import Console
from edgestill.data.config import ROLES
from edgestill.data.remarks import read_remarks
from edgestill.errors import EdgestillError, StoreError, UsageError
from edgestill.plan import Ref, Step
from edgestill.planner import make_plan
from edgestill.recipe import Recipe
from edgestill.runner import Runner
from edgestill.source_code import remembered_imports
from edgestill.store import Entry, Key, Store

_KEPT = ("data", "check")  # the steps of a plan that need no training


def try_out(recipe: Recipe, store: PathLike | None, console: Console | None) -> Iterator[Finding]:
    """What each step found, in the order of the plan."""
    console = console or Console()
    opened = open_store(store, console)
    log = opened.root / "logs" / f"doctor-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    with (
        remembered_imports(import_index(opened)),
        TemporaryDirectory(prefix="edgestill-doctor-") as scratch,
    ):
        trial = Trial(Runner(make_plan(recipe), opened, console, log), Path(scratch))
        yield from trial.hindrances()
        yield from trial.kept()
        with console.muted():  # what a step says of a few samples would mislead
            yield from trial.thrown_away()


class Trial:
    """One try of a recipe: a step that fails stops those that need its result, and no others.

    Args:
        real: the run whose data and check are tried.
        scratch: an empty folder for everything after them.

    Attributes:
        small: the run in miniature.
        lacking: why a step has no result, by the step's name.
    """

    def __init__(self, real: Runner, scratch: Path) -> None:
        self.real = real
        self.recipe = real.plan.recipe
        self.scratch = scratch
        plan = make_plan(miniature(self.recipe))
        self.small = Runner(plan, Store(scratch, real.console.say), real.console, real.log)
        self.lacking: dict[str, str] = {}

    def hindrances(self) -> Iterator[Finding]:
        """What cannot be done here, where a look at the machine alone has not told it."""
        if (crowded := crowding(self.real.plan)) is not None:
            steps = [name for name in self.small.plan.steps if name not in _KEPT]
            self.lacking |= dict.fromkeys(steps, crowded.what)
            yield from problems("recipe", crowded)
        for index, target in enumerate(self.small.plan.targets):
            compiling = hindrance(self.recipe, index, run=False)
            running = hindrance(self.recipe, index, run=True)
            if compiling is not None:
                engines = [ref.step for ref in target.engines.values()]
                self.lacking |= dict.fromkeys(engines, compiling.what)
            if running is not None and target.evaluate is not None:
                self.lacking[target.evaluate] = running.what
            if isinstance(compiling, UsageError):
                yield from problems("recipe", compiling)

    def kept(self) -> Iterator[Finding]:
        """The steps whose results a run will use."""
        for name in _KEPT:
            if name in self.real.plan.steps:
                step = self.real.plan.steps[name]
                yield from self._attempt(name, _needs(step), partial(self._keep, name))
        for caution in cautions(self.real):
            place = caution.where.removeprefix(f"{self.recipe.path}: ")
            yield Finding("recipe", State.WARNING, f"{place}: {caution.what}", caution.fix)
        if "data" in self.real.entries:
            for remark in read_remarks(self.real.entries["data"].path):
                yield Finding("data", State.WARNING, remark)

    def thrown_away(self) -> Iterator[Finding]:
        """The steps in miniature, and after the answers what a run makes of them."""
        evaluated = {target.evaluate: target for target in self.small.plan.targets}
        for name in [name for name in self.small.plan.steps if name not in _KEPT]:
            without = self._narrow(name)
            step = self.small.plan.steps[name]
            work = partial(_timed, partial(self.small.resolve, name), without)
            yield from self._attempt(name, _needs(step), work)
            if name == "evaluate onnx":
                score = partial(require_score, self.real, self.small, step)
                yield from self._attempt("metric", (name,), partial(_timed, score))
            if name in evaluated:
                measure = partial(require_measurable, self.recipe, self.small, step)
                label = f"measure {evaluated[name].config.target}"
                yield from self._attempt(label, (name,), partial(_timed, measure))

    def _attempt(
        self, name: str, needs: Iterable[str], work: Callable[[], str]
    ) -> Iterator[Finding]:
        """What came of some work; `needs` are the steps that it rests on."""
        lacking = [self.lacking[need] for need in (name, *needs) if need in self.lacking]
        if lacking:
            self.lacking[name] = lacking[0]
            yield Finding(name, State.ABSENT, f"not tried, since {lacking[0]}")
            return
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - one step must not hide what others find
            self.lacking[name] = f"{name} failed"
            yield from problems(name, self._lasting(error))
        else:
            yield Finding(name, State.OK, found)

    def _keep(self, name: str) -> str:
        entry = self.real.resolve(name)
        self.small.entries[name] = self._sampled() if name == "data" else entry
        return "found in the store" if entry.hit else f"done in {entry.seconds:.1f} s"

    def _sampled(self) -> Entry:
        """A few samples of each split, as the result of a step."""

        def produce(out: Path, work: Path) -> None:
            del work
            for role in ROLES:
                write_sample(self.real.typed(Ref("data", role), Dataset), out / role)

        return self.small.store.compute(Key("data", "sample", {}), produce)

    def _narrow(self, name: str) -> tuple[str, ...]:
        """Leave out of an evaluation what could not be made, so that the others go on."""
        step = self.small.plan.steps[name]
        candidates = step.inputs.get("candidates", {})
        if not isinstance(candidates, Mapping):
            return ()
        made = {name: ref for name, ref in candidates.items() if ref.step not in self.lacking}
        if not made:
            return ()
        narrowed = replace(step, inputs={**step.inputs, "candidates": made})
        plan = self.small.plan
        self.small.plan = replace(plan, steps={**plan.steps, name: narrowed})
        return tuple(name for name in candidates if name not in made)

    def _lasting(self, error: Exception) -> Exception:
        """The error without places in the scratch folder, which is gone when it is read."""
        here = str(self.scratch)
        if isinstance(error, StoreError) and here in (error.where or ""):
            error.where = str(self.scratch.parent)
            error.fix = "Free some space there, or name another folder in TMPDIR"
        elif isinstance(error, EdgestillError):
            error.what = re.sub(rf"{re.escape(here)}\S*/", "", error.what)
            places = (error.where or "").split(": ")
            error.where = ": ".join(place for place in places if here not in place)
        return error


def _needs(step: Step) -> tuple[str, ...]:
    return (*step.after, *step.reads)


def _timed(work: Callable[[], object], without: tuple[str, ...] = ()) -> str:
    began = time.monotonic()
    work()
    left_out = f", without {' and '.join(without)}" if without else ""
    return f"tried in {time.monotonic() - began:.1f} s{left_out}"
