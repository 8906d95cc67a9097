"""Where a hop departs from the one before it, looked for where the two should agree and do not.

An int8 model should agree with its float model until it loses more than the recipe allows; an
engine with the ONNX model that it was compiled from, but for rounding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgestill.api.gathering import Gathering
from edgestill.artifact import Engine, OnnxModel, Predictions
from edgestill.capture import captured
from edgestill.departures.locate import options_of, outcome, search
from edgestill.departures.parity import allowed_error, answers_error, least_alike
from edgestill.departures.result import Departure
from edgestill.digest import canonical_json
from edgestill.plan import Hop
from edgestill.source_code import stage_digest
from edgestill.store import Key
from edgestill.targets import TARGETS
from edgestill.verify.results import HopResult, TargetResult

_FILE = "departure.json"


def with_departures(
    gathering: Gathering, hops: Sequence[HopResult], targets: Sequence[TargetResult]
) -> tuple[HopResult, ...]:
    """The hops of a run; where one departs from its parent, with the layer at which that begins.

    Args:
        targets: what was found of each, with what its candidates lose on validation.
    """
    departing = _Departing(gathering, targets)
    return tuple(departing.looked_at(hop) for hop in hops)


@dataclass(frozen=True)
class _Step:
    """A hop and its parent, as the models and answers that they are."""

    parent: Hop
    reference: OnnxModel
    candidate: OnnxModel | Engine
    before: Predictions
    after: Predictions


class _Departing:
    def __init__(self, gathering: Gathering, targets: Sequence[TargetResult]) -> None:
        self.gathering = gathering
        self.runner = gathering.runner
        self.targets = targets
        self.planned = {hop.name: hop for hop in self.runner.plan.hops}

    def looked_at(self, result: HopResult) -> HopResult:
        hop = self.planned[result.name]
        parent = self.planned.get(hop.parent or "")
        # A model in PyTorch has no graph here; its export was compared with it module by module.
        if parent is None or parent.model is None or hop.model is None:
            return result
        candidate = self.runner.artifact(hop.model)
        assert isinstance(candidate, (OnnxModel, Engine))
        before, after = (self.gathering.predictions(place.predictions) for place in (parent, hop))
        reference = self.runner.typed(parent.model, OnnxModel)
        step = _Step(parent, reference, candidate, before, after)
        if isinstance(candidate, OnnxModel):
            refused = self._refused(result, candidate.description.scheme)
            return self._remembered(result, step, 0.0) if refused else result
        tolerance = self._tolerance(step, candidate)
        departs = answers_error(before, after) > tolerance
        return self._remembered(result, step, tolerance) if departs else result

    def _tolerance(self, step: _Step, engine: Engine) -> float:
        quantization, made_from = 0.0, self.planned.get(step.parent.parent or "")
        if engine.description.precision == "int8" and made_from is not None:
            floats = self.gathering.predictions(made_from.predictions)
            quantization = answers_error(floats, step.before)
        return allowed_error(engine.description.precision, options_of(engine), quantization)

    def _refused(self, result: HopResult, scheme: str | None) -> bool:
        """Whether an int8 model loses too much, on test or where its engines were judged."""
        budget = self.gathering.rules.accuracy_drop
        if budget is None:
            return False
        drops = [
            candidate.validation_drop
            for target in self.targets
            for candidate in target.candidates
            if candidate.name == "int8" and TARGETS[target.target].scheme == scheme
        ]
        return any(drop is not None and drop.value > budget for drop in (result.drop, *drops))

    def _remembered(self, result: HopResult, step: _Step, tolerance: float) -> HopResult:
        """What was found before about the same models and answers, else what is found now."""
        samples = self.gathering.split("test")
        name, threads = f"locate {result.name}", self.gathering.recipe.threads
        parts = {
            "stage": stage_digest("edgestill.departures.locate", "edgestill.departures.parity"),
            "models": [step.reference.digest, step.candidate.digest],
            "answers": [step.before.digest, step.after.digest],
            "samples": samples.digest,
            "config": {"tolerance": tolerance, "threads": threads},
        }

        def produce(out: Path, work: Path) -> None:
            feeds = least_alike(step.reference, samples, step.before, step.after)
            found = search(
                step.reference, step.candidate, feeds, tolerance, threads=threads, work=work
            )
            (out / _FILE).write_text(canonical_json(found), encoding="utf-8")

        def find() -> Departure | None:
            key, started = Key(name, "locate", parts), time.monotonic()
            entry = self.runner.store.find(key)
            if entry is None:
                with self.runner.console.step(name), captured(self.runner.log):
                    entry = self.runner.store.compute(key, produce)
                self.runner.note(name, time.monotonic() - started)
            found = json.loads((entry.path / _FILE).read_text("utf-8"))
            return found and Departure(**found)

        departure, why = outcome(step.candidate, find)
        return replace(result, departure=departure, unfound=why)
