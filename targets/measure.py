"""Predictions and timings of engines, taken in worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions, PredictionsDescription
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.targets import timing
from edgestill.targets.blocks import Block, Failure, MeasureConfig, Round, Timing
from edgestill.targets.fingerprint import DeviceState
from edgestill.targets.jobs import Model, PredictJob, TimeJob
from edgestill.targets.process import Workers

__all__ = [
    "Block", "Candidate", "Failure", "MeasureConfig", "Round", "Workers",
    "measure", "predict", "predict_onnx",
]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """An engine, and its predictions on the dataset that it is timed with."""

    name: str
    engine: Engine
    predictions: Predictions


def predict(
    engine: Engine,
    dataset: Dataset,
    out: Path,
    *,
    threads: int,
    batch: int = 64,
    time_limit_s: float = 300.0,
    workers: Workers | None = None,
) -> Predictions:
    """What an engine answers on every sample, written into the folder `out`.

    Args:
        batch: samples of one call; an engine of a fixed or a smaller largest batch uses its own.
        time_limit_s: for one call.
        workers: processes to use; without them one is started and ended here.

    Raises:
        DataError: the dataset is not what the model takes.
        DeviceError: the runtime crashed, hung, or gave outputs of another shape or not finite.
    """
    return _predict(engine, dataset, out, threads, batch, time_limit_s, workers)


def predict_onnx(
    model: OnnxModel,
    dataset: Dataset,
    out: Path,
    *,
    threads: int,
    batch: int = 64,
    time_limit_s: float = 300.0,
    workers: Workers | None = None,
) -> Predictions:
    """What an ONNX model answers as it is, in ONNX Runtime; otherwise as `predict`."""
    return _predict(model, dataset, out, threads, batch, time_limit_s, workers)


def _predict(
    artifact: Engine | OnnxModel,
    dataset: Dataset,
    out: Path,
    threads: int,
    batch: int,
    time_limit_s: float,
    workers: Workers | None,
) -> Predictions:
    model = Model.of(artifact)
    job = PredictJob(
        "predict", model, dataset.path.absolute(), out.absolute(), threads=threads, batch=batch
    )
    with Workers() if workers is None else nullcontext(workers) as running:
        running.ask(model.runtime, job, time_limit_s)
    signature = model.signature
    description = PredictionsDescription(
        runtime=model.runtime,
        count=dataset.description.count,
        outputs=tuple(spec.name for spec in signature.outputs),
        prediction=signature.prediction,
    )
    return Predictions.seal(out, description)


def measure(
    candidates: Sequence[Candidate],
    dataset: Dataset,
    config: MeasureConfig,
    *,
    indices: Iterable[int] | None = None,
    workers: Workers | None = None,
) -> Iterator[Round]:
    """Time candidates in interleaved blocks, each in a fresh process; yields round by round.

    A candidate that fails is named in its round's `failures` and not tried again; the others go on.
    A round in which the last of them failed is yielded too, before the error.

    Args:
        indices: of the rounds, where they go on from former ones; else `config.rounds` from 0.
        workers: processes to use; without them they are started and ended here.

    Raises:
        UsageError: the batch size or the predictions do not fit a candidate.
        DeviceError: every candidate has failed.
    """
    for candidate in candidates:
        _require_fit(candidate, dataset, config)
    indices = range(config.rounds) if indices is None else indices
    return _rounds(candidates, dataset, config, indices, workers)


def _rounds(
    candidates: Sequence[Candidate],
    dataset: Dataset,
    config: MeasureConfig,
    indices: Iterable[int],
    workers: Workers | None,
) -> Iterator[Round]:
    left = list(candidates)
    with Workers() if workers is None else nullcontext(workers) as running:
        for index in indices:
            started = _now()
            blocks: list[Block] = []
            failures: list[Failure] = []
            # A drift of the machine weighs on all alike: A B C, then C B A.
            for candidate in left if index % 2 == 0 else reversed(left):
                outcome = _block(candidate, dataset, config, index, running)
                if isinstance(outcome, Block):
                    blocks.append(outcome)
                else:
                    failures.append(outcome)
            failed = {failure.candidate for failure in failures}
            left = [candidate for candidate in left if candidate.name not in failed]
            yield Round(
                index, started, config.batch, config.threads, tuple(blocks), tuple(failures)
            )
            if not left:
                raise failures[-1].error()


def _block(
    candidate: Candidate, dataset: Dataset, config: MeasureConfig, index: int, workers: Workers
) -> Block | Failure:
    model = Model.of(candidate.engine)
    job = TimeJob(
        "time",
        model,
        dataset.path.absolute(),
        candidate.predictions.path.absolute(),
        threads=config.threads,
        batch=config.batch,
        first=index * timing.MOST_FEEDS * config.batch % dataset.description.count,
        block_ns=round(config.block_seconds * 1e9),
        min_calls=config.min_calls,
        warmup_limit_ns=round(config.warmup_limit_s * 1e9),
    )
    started, before = _now(), DeviceState.read()
    try:
        answer = workers.ask(model.runtime, job, config.time_limit_s)
    except DeviceError as error:
        return Failure(candidate.name, str(error))
    measured = Timing(**{**answer, "samples_ns": tuple(answer["samples_ns"])})
    return Block(
        **vars(measured),
        candidate=candidate.name,
        started=started,
        before=before,
        after=DeviceState.read(),
    )


def _require_fit(candidate: Candidate, dataset: Dataset, config: MeasureConfig) -> None:
    model = Model.of(candidate.engine)
    fixed, largest = model.signature.inputs[0].shape[0], model.largest_batch
    if fixed not in (None, config.batch) or config.batch > (largest or config.batch):
        limit = f"takes {fixed} samples at a time" if fixed else f"takes at most {largest} samples"
        raise UsageError(
            f"{candidate.name} {limit}, not {config.batch}",
            where="batch",
            fix="Export the model with a free batch size, or measure the one that it has",
        )
    found, expected = candidate.predictions.description.count, dataset.description.count
    if found != expected:
        raise DataError(
            f"{candidate.name} has predictions of {found} samples, the dataset has {expected}"
        )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
