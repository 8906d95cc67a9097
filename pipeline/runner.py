"""Executes a plan: resolves each step's key as its inputs become known, then hits or computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgestill.artifact import Artifact, View
from edgestill.capture import captured
from edgestill.companions import Task, announce
from edgestill.console import Console
from edgestill.digest import canonical
from edgestill.errors import DataError, EdgestillError, ModelError
from edgestill.installed import library_version
from edgestill.machine import Machine
from edgestill.plan import Plan, Ref, Step
from edgestill.report.model import StepSummary
from edgestill.source_code import CodeDigest, code_digest, stage_digest, undeclared
from edgestill.step import StepContext
from edgestill.store import Entry, Key, Store

# Of files that a message lists.
_TOLD = 3


@dataclass(frozen=True)
class Prospect:
    """What would happen to a step, or to a measurement, if the plan ran now.

    Attributes:
        state: `hit`, `miss`, `damaged` (computed again) or `unknown`.
        reasons: for a miss, what changed; for unknown, the step that has to run first.
        origin: the step that has to run before its result is known: itself, or one before it.
        lasts_s: how long it takes at least, where the recipe tells.
    """

    name: str
    state: str
    reasons: tuple[str, ...]
    origin: str | None = None
    lasts_s: float = 0.0


class Runner:
    """Resolves the steps of one plan against one store.

    Args:
        log: the file that takes what third-party code prints.

    Attributes:
        before_computing: called once, before the first step that is not stored already.
    """

    def __init__(self, plan: Plan, store: Store, console: Console, log: Path) -> None:
        self.plan = plan
        self.store = store
        self.console = console
        self.log = log
        self.before_computing: Callable[[], None] | None = None
        self.entries: dict[str, Entry] = {}
        self.records: list[StepSummary] = []
        self.machine = Machine()

    def artifact(self, ref: Ref) -> Artifact[Any]:
        """The result of a step or of its part, computed if it has to be."""
        entry = self.resolve(ref.step)
        view = self.plan.steps[ref.step].stage.result
        assert view is not None
        return view(entry.path / ref.part, entry.digest(ref.part))

    def typed(self, ref: Ref, view: type[View]) -> View:
        """The same, as the view that the caller knows it to have."""
        found = self.artifact(ref)
        assert isinstance(found, view)
        return found

    def note(self, name: str, seconds: float) -> None:
        """Record work that is not a step of the plan, such as a measurement."""
        self.records.append(StepSummary(name, reused=False, seconds=seconds))
        self.console.say(f"  {name:<28} {seconds:6.1f} s")

    def note_reused(self, name: str, seconds: float) -> None:
        """Record such work that was done before, and how long it took then."""
        self.records.append(StepSummary(name, reused=True, seconds=seconds))

    def resolve(self, name: str) -> Entry:
        """The committed result of a step, after those that it needs."""
        if name in self.entries:
            return self.entries[name]
        step = self.plan.steps[name]
        for needed in (*step.after, *step.reads):
            self.resolve(needed)
        key = self.key(step)
        entry = self.store.find(key)
        if entry is None:
            self._prepare()
            with self.console.step(name):
                entry = self.store.compute(
                    key, lambda out, work: self._execute(step, key, out, work)
                )
        self.entries[name] = entry
        self.records.append(StepSummary(name, entry.hit, entry.seconds))
        if not entry.hit:
            self.console.say(f"  {name:<28} {entry.seconds:6.1f} s")
        return entry

    def key(self, step: Step) -> Key:
        """The key of a step whose inputs are resolved."""
        parts: dict[str, Any] = {
            "config": canonical(step.config),
            "inputs": {name: self._digests(value) for name, value in step.inputs.items()},
            "stage": stage_digest(step.stage.module, *step.modules),
            "libraries": {
                name: library_version(name) for name in (*step.stage.libraries, *step.libraries)
            },
        }
        if step.code:
            parts["code"] = {name: self._code[name].parts for name in step.code}
        if step.files:
            parts["files"] = self._files(step)
        parts |= self.machine.key_parts(step.hardware)
        return Key(step.name, step.kind, parts)

    def prospects(self) -> tuple[Prospect, ...]:
        """What each step would do, without computing anything."""
        found: dict[str, Prospect] = {}
        for name, step in self.plan.steps.items():
            origin = next((found[read].origin for read in step.reads if found[read].origin), None)
            if origin is not None:
                found[name] = Prospect(name, "unknown", (f"until {origin}",), origin)
                continue
            key = self.key(step)
            entry, damage = self.store.look(key)
            if entry is not None:
                self.entries[name] = entry
                found[name] = Prospect(name, "hit", ())
            elif damage:
                reason = f"{damage}: the stored result will be rebuilt"
                found[name] = Prospect(name, "damaged", (reason,), name)
            else:
                found[name] = Prospect(name, "miss", self.store.explain(key), name)
        return tuple(found.values())

    def _files(self, step: Step) -> dict[str, str]:
        """The digest of each of its files, by name beside the recipe: a moved project keeps its
        results."""
        base = self.plan.recipe.base
        return {_relative(file, base): self.store.source_digest(file) for file in step.files}

    def _prepare(self) -> None:
        prepare, self.before_computing = self.before_computing, None
        if prepare is not None:
            prepare()

    def _digests(self, value: Ref | Mapping[str, Ref]) -> Any:
        if isinstance(value, Ref):
            folders = [folder for folder in (value.part, value.keyed_by) if folder]
            return self.entries[value.step].digest("/".join(folders))
        return {name: self._digests(ref) for name, ref in value.items()}

    def _execute(self, step: Step, key: Key, out: Path, work: Path) -> None:
        stage = step.stage
        context = StepContext(
            base=self.plan.recipe.base,
            work=work,
            progress=self.console.progress,
            say=lambda line: self.console.say(f"  {step.name}: {line}"),
        )
        imported = set(sys.modules)
        with captured(self.log):
            try:
                inputs = {name: self._artifacts(value) for name, value in step.inputs.items()}
                if stage.trains:
                    announce(Task(stage, step.config, inputs, context.base, work))
                stage.run(step.config, inputs, out, context)
                self._require_seen(step, imported)
                self._require_unchanged(step, key)
            except EdgestillError as error:
                error.where = f"{step.name}: {error.where}" if error.where else step.name
                raise

    def _require_seen(self, step: Step, before: set[str]) -> None:
        """Refuse a result that rests on code which its key knows nothing of.

        Raises:
            ModelError: the user's code imported a file that no import statement of it names.
        """
        base = self.plan.recipe.base
        declared = {file.resolve() for file in step.files}
        found = undeclared(*self._code.values(), before=before) if step.code else []
        hidden = [f for f in found if not any(f.is_relative_to(known) for known in declared)]
        if hidden:
            names = [_relative(file, base.resolve()) for file in hidden]
            told, declared_as = ", ".join(names), ", ".join(names)
            if len(names) > _TOLD:
                told = f"{', '.join(names[:_TOLD])} and {len(names) - _TOLD} more files"
                declared_as = _relative(Path(os.path.commonpath(hidden)), base.resolve())
            raise ModelError(
                f"it imports {told} by a name or a path that is made while it runs, so that a "
                "change there would go unnoticed",
                where=" and ".join(step.code),
                fix=f"Declare it beside the callable, as files: [{declared_as}]",
            )

    def _require_unchanged(self, step: Step, key: Key) -> None:
        """Refuse a result of which nobody knows whether it is from the files of its key.

        Raises:
            DataError: a file was written to since its digest was taken.
        """
        known = key.parts.get("files", {})
        now = self._files(step)
        changed = [name for name, digest in now.items() if digest != known[name]]
        if changed:
            raise DataError(
                f"{', '.join(changed[:_TOLD])} changed while it was read",
                fix="Run it again when nothing writes to it any more",
            )

    def _artifacts(self, value: Ref | Mapping[str, Ref]) -> Any:
        if isinstance(value, Ref):
            return self.artifact(value)
        return {name: self.artifact(ref) for name, ref in value.items()}

    @cached_property
    def _code(self) -> dict[str, CodeDigest]:
        """The code of every callable of the plan, read before any of it runs: what it does to
        `sys.path` would change what its imports mean."""
        names = {name for step in self.plan.steps.values() for name in step.code}
        return {name: code_digest(name, self.plan.recipe.base) for name in sorted(names)}


def _relative(file: Path, base: Path) -> str:
    return file.relative_to(base).as_posix() if file.is_relative_to(base) else str(file)
