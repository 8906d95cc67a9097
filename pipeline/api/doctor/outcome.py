"""What a run makes of its models' answers: scores and times, tried and not shown.

Scores of models that nothing has trained mean nothing, and a handful of calls is no latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from edgestill.api.doctor.miniature import SAMPLES, repeated
from edgestill.artifact import Dataset, Engine, Predictions
from edgestill.capture import captured
from edgestill.data.arrays import load_labels
from edgestill.errors import DeviceError, EdgestillError
from edgestill.measuring import Session, measured_rounds
from edgestill.models.resolve import load_callable
from edgestill.plan import Ref, Step
from edgestill.recipe import Recipe
from edgestill.runner import Runner
from edgestill.scoring import resolve_metric, score_outputs
from edgestill.targets.blocks import Round
from edgestill.verify.config import (
    BASELINE,
    FLOAT,
    Load,
    measured_batches,
    measured_loads,
    timing,
)
from edgestill.verify.evidence import Candidate, Evidence, timed_under

_CALLS = 3
_QUICK_PER_SECOND = 100.0
_ROLES = {BASELINE: "teacher", FLOAT: "student"}


def require_score(real: Runner, small: Runner, evaluation: Step) -> None:
    """Score teacher and student on the labels of whole splits, whatever the task's metric is.

    The few answers there are stand for all: what is looked for is a metric that refuses their
    shape, or labels that no metric can use.

    Raises:
        DataError: the metric, or what it does not like about labels and outputs.
    """
    recipe = real.plan.recipe
    with captured(real.log):
        metric = resolve_metric(recipe.metric, lambda name: load_callable(name, recipe.base))
        asked = {name: Ref(evaluation.name, f"{name}/test") for name in _candidates(evaluation)}
        if BASELINE not in asked and "ask teacher" in small.entries:
            asked[BASELINE] = Ref("ask teacher")  # a function, which no runtime runs
        models = [name for name in asked if name in _ROLES]
        for model, role in product(models, ("validation", "test")):
            answers = small.typed(asked[model], Predictions)
            split = real.typed(Ref("data", role), Dataset)
            outputs = repeated(answers, split.description.count)
            prediction = answers.description.prediction
            labels = load_labels(split)
            if labels is not None:
                labels = labels[: len(outputs[prediction])]
            try:
                score_outputs(metric, outputs, prediction, labels)
            except EdgestillError as error:
                place = f"{_ROLES[model]} on {role}"
                error.where = f"{place}: {error.where}" if error.where else place
                raise


def require_measurable(recipe: Recipe, small: Runner, evaluation: Step) -> None:
    """A few timed calls of each engine, at every batch size and under every load of the recipe.

    Raises:
        DeviceError: an engine crashed, hung, or answered otherwise than before.
        UsageError: an engine does not take a batch size.
    """
    candidates = tuple(
        Candidate(
            name,
            small.typed(ref, Engine),
            None,
            small.typed(Ref(evaluation.name, f"{name}/test"), Predictions),
        )
        for name, ref in _candidates(evaluation).items()
    )
    target = candidates[0].engine.description.target
    rounds: dict[int | Load, tuple[Round, ...]] = {}
    loads: list[int | Load] = [*measured_batches(recipe.measure, recipe.gates)]
    with small.console.step(f"measure {target}"), captured(small.log):
        for load in (*loads, *measured_loads(recipe.gates)):
            quick = replace(
                timing(recipe.measure, recipe.threads, _light(load)),
                rounds=1,
                block_seconds=0.0,
                min_calls=_CALLS,
                warmup_limit_s=0.0,
            )
            samples = small.typed(Ref("data", "test"), Dataset)
            session = Session(timed_under(load, candidates), samples, quick)
            rounds[load] = tuple(measured_rounds(session, small.console.progress))
    failures = Evidence(target, candidates, rounds).failures
    if failures:
        raise DeviceError("; ".join(f"{name} failed: {what}" for name, what in failures.items()))


def _light(load: int | Load) -> int | Load:
    """The same load, tried in little time: few batches, and requests that do not come seldom."""
    if isinstance(load, int):
        return load
    if load.rate is None:
        return replace(load, batch=min(load.batch, SAMPLES))
    return replace(load, rate=max(load.rate, _QUICK_PER_SECOND))


def _candidates(evaluation: Step) -> Mapping[str, Ref]:
    candidates = evaluation.inputs["candidates"]
    assert isinstance(candidates, Mapping)
    return candidates
