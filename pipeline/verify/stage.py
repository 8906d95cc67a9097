"""What every candidate of a target answers, computed by the runtime that will serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions
from edgestill.errors import EdgestillError
from edgestill.step import StepContext
from edgestill.targets.measure import Workers, predict, predict_onnx
from edgestill.verify.config import EvaluateStep


@dataclass(frozen=True)
class EvaluateInputs:
    """Candidates by name, and splits by role."""

    candidates: Mapping[str, Engine | OnnxModel]
    datasets: Mapping[str, Dataset]


def evaluate(
    config: EvaluateStep, inputs: EvaluateInputs, out: Path, context: StepContext
) -> dict[str, Predictions]:
    """Predictions of each candidate on each split, in folders `<candidate>/<role>`.

    Raises:
        DeviceError: a runtime crashed, hung, or gave outputs that are not finite.
    """
    predictions = {}
    pairs = [(name, role) for name in inputs.candidates for role in inputs.datasets]
    with Workers() as workers:
        for index, (name, role) in enumerate(pairs):
            candidate, dataset = inputs.candidates[name], inputs.datasets[role]
            part = f"{name}/{role}"
            (out / part).mkdir(parents=True)
            try:
                predictions[part] = _answers(
                    candidate, dataset, out / part, config.threads, workers
                )
            except EdgestillError as error:
                error.where = f"{part}: {error.where}" if error.where else part
                raise
            context.progress((index + 1) / len(pairs), part)
    return predictions


def _answers(
    candidate: Engine | OnnxModel, dataset: Dataset, out: Path, threads: int, workers: Workers
) -> Predictions:
    if isinstance(candidate, OnnxModel):
        return predict_onnx(candidate, dataset, out, threads=threads, workers=workers)
    return predict(candidate, dataset, out, threads=threads, workers=workers)
