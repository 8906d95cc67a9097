"""What a run puts into its release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from edgestill.api.gathering import Gathering
from edgestill.departures.parity import answers_error
from edgestill.digest import canonical
from edgestill.metric_config import FunctionMetric
from edgestill.plan import Ref, TargetPlan
from edgestill.recipe import recipe_text
from edgestill.release import CODE, QUANTIZED, ReleaseDescription, ReleasedTarget, ReleaseWriter
from edgestill.report.formats import BESIDE, render
from edgestill.report.model import Report
from edgestill.source_code import code_digest
from edgestill.verify.config import BASELINE
from edgestill.verify.results import TargetResult


def write_release(
    writer: ReleaseWriter, gathering: Gathering, report: Report, overrides: Sequence[str]
) -> None:
    """Copy engines, model, evaluation set and references, and describe them."""
    recipe, rules = gathering.recipe, gathering.rules
    released = tuple(
        _target(writer, gathering, target, result)
        for target, result in zip(gathering.runner.plan.targets, report.targets, strict=True)
    )
    writer.add(gathering.onnx("student"), "model")
    for scheme, model in gathering.quantized().items():
        writer.add(model, f"{QUANTIZED}/{scheme}")
    writer.add(gathering.split("test"), "evaluation")
    for name, predictions in rules.references.items():
        writer.add(predictions, f"references/{name}")
    metric = recipe.metric
    if isinstance(metric, FunctionMetric):
        for label, file in code_digest(metric.function, recipe.base).places.items():
            writer.add_text(f"{CODE}/{label}", file.read_text("utf-8"))
    writer.describe(
        ReleaseDescription(
            name=recipe.name,
            task=recipe.task,
            metric=metric if isinstance(metric, str) else asdict(metric),
            threads=recipe.threads,
            seed=recipe.seed,
            gates=tuple((name, canonical(gate)) for name, gate in recipe.gates),
            measure=canonical(recipe.measure),
            accuracy_drop=rules.accuracy_drop,
            targets=released,
            references=tuple(rules.references),
            verdict=report.verdict,
            notes=gathering.notes(),
        )
    )
    writer.add_text("recipe.yaml", recipe_text(recipe.path, overrides))
    for suffix, shape in BESIDE.items():
        writer.add_text(f"report{suffix}", render(report, shape))


def _target(
    writer: ReleaseWriter, gathering: Gathering, target: TargetPlan, result: TargetResult
) -> ReleasedTarget:
    places = {
        name: writer.add(gathering.engine(ref), f"targets/{result.target}/{name}")
        for name, ref in target.engines.items()
    }
    measured = target.config.auto and target.evaluate is not None
    return ReleasedTarget(
        target=result.target,
        verify=result.verify,
        candidates={name: place for name, place in places.items() if name != BASELINE},
        baseline=places.get(BASELINE),
        shipped=result.shipped,
        auto=target.config.auto,
        drops={c.name: c.validation_drop for c in result.candidates if c.validation_drop},
        selected_on=gathering.fingerprint.name if measured else None,
        errors=_errors(gathering, target),
    )


def _errors(gathering: Gathering, target: TargetPlan) -> dict[str, float]:
    """How far what its engines answer is from the float student, of those that run here."""
    if target.evaluate is None:
        return {}
    student = gathering.rules.references["student"]
    answers = {
        name: gathering.predictions(Ref(target.evaluate, f"{name}/test"))
        for name in target.candidates
    }
    return {name: answers_error(student, given) for name, given in answers.items()}
