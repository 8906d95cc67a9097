"""Predictions and timings of engines, taken in worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions, PredictionsDescription
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.targets import TARGETS, timing
from edgestill.targets.blocks import Block, Energy, Failure, MeasureConfig, Round, Timing, Trial
from edgestill.targets.fingerprint import DeviceState
from edgestill.targets.jobs import Model, PredictJob, TimeJob
from edgestill.targets.process import Workers
from edgestill.targets.search import Setting, batches_up_to, best_of, streams_up_to, tried

__all__ = [
    "Block", "Candidate", "Failure", "MeasureConfig", "Round", "Workers",
    "measure", "predict", "predict_onnx",
]  # fmt: skip

_TRIAL_CALLS = 4  # of each stream, where the time of a block has fewer


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
    former: Sequence[Round] = (),
    workers: Workers | None = None,
) -> Iterator[Round]:
    """Time candidates in interleaved blocks, each in a fresh process; yields round by round.

    In the mode `offline`, the first round begins with a search for the batch size and the number
    of streams with which each candidate serves most; its blocks are then timed with these.

    A candidate that fails is named in its round's `failures` and not tried again; the others go on.
    A round in which the last of them failed is yielded too, before the error.

    Args:
        indices: of the rounds, where they go on from former ones; else `config.rounds` from 0.
        former: the rounds before these, which say with what batch size and streams to go on.
        workers: processes to use; without them they are started and ended here.

    Raises:
        UsageError: the batch size or the predictions do not fit a candidate.
        DeviceError: every candidate has failed.
    """
    for candidate in candidates:
        _require_fit(candidate, dataset, config)
    indices = range(config.rounds) if indices is None else indices
    return _rounds(candidates, dataset, config, indices, former, workers)


def _rounds(
    candidates: Sequence[Candidate],
    dataset: Dataset,
    config: MeasureConfig,
    indices: Iterable[int],
    former: Sequence[Round],
    workers: Workers | None,
) -> Iterator[Round]:
    left = list(candidates)
    with Workers() if workers is None else nullcontext(workers) as running:
        session = _Session(dataset, config, running)
        settings = {candidate.name: Setting(config.batch) for candidate in candidates}
        for round_ in former:
            settings |= {b.candidate: Setting(b.batch, b.streams) for b in round_.blocks}
        for index in indices:
            started = _now()
            blocks: list[Block] = []
            failures: list[Failure] = []
            trials: list[Trial] = []
            if index == 0 and config.mode == "offline":
                settings, trials, failures = _searched(left, session)
            # A drift of the machine weighs on all alike: A B C, then C B A.
            for candidate in left if index % 2 == 0 else reversed(left):
                if candidate.name not in settings:
                    continue
                outcome = session.block(candidate, settings[candidate.name], index)
                if isinstance(outcome, Block):
                    blocks.append(outcome)
                else:
                    failures.append(outcome)
            failed = {failure.candidate for failure in failures}
            left = [candidate for candidate in left if candidate.name not in failed]
            yield Round(
                index,
                started,
                config.batch,
                config.threads,
                tuple(blocks),
                tuple(failures),
                tuple(trials),
            )
            if not left:
                raise failures[-1].error()


def _searched(
    candidates: Sequence[Candidate], session: _Session
) -> tuple[dict[str, Setting], list[Trial], list[Failure]]:
    """How each candidate serves most, what was tried, and the candidates that never did."""
    settings: dict[str, Setting] = {}
    trials: list[Trial] = []
    failures: list[Failure] = []
    for candidate in candidates:
        found = list(session.trials(candidate))
        trials += found
        best = best_of(found)
        if best is None:
            failures.append(Failure(candidate.name, found[-1].failure))
        else:
            settings[candidate.name] = best
    return settings, trials, failures


@dataclass(frozen=True)
class _Session:
    """What all blocks of a measurement share."""

    dataset: Dataset
    config: MeasureConfig
    workers: Workers

    def block(
        self, candidate: Candidate, setting: Setting, index: int, min_calls: int | None = None
    ) -> Block | Failure:
        """One block in a fresh process; `index` says with which samples it begins."""
        model, config = Model.of(candidate.engine), self.config
        job = TimeJob(
            "time",
            model,
            self.dataset.path.absolute(),
            candidate.predictions.path.absolute(),
            threads=config.threads,
            batch=setting.batch,
            first=index * timing.MOST_FEEDS * setting.batch % self.dataset.description.count,
            block_ns=round(config.block_seconds * 1e9),
            min_calls=config.min_calls if min_calls is None else min_calls,
            warmup_limit_ns=round(config.warmup_limit_s * 1e9),
            mode=config.mode,
            streams=setting.streams,
            rate=config.rate,
            seed=index,  # in one round, requests come to all candidates at the same times
        )
        gpu = TARGETS[model.runtime].gpu
        started, before = _now(), DeviceState.read(gpu=gpu)
        try:
            answer = self.workers.ask(model.runtime, job, config.time_limit_s)
        except DeviceError as error:
            return Failure(candidate.name, str(error))
        series = {name: tuple(answer[name]) for name in ("samples_ns", "service_ns")}
        energy = None if answer["energy"] is None else Energy(**answer["energy"])
        measured = Timing(**{**answer, **series, "energy": energy})
        return Block(
            **vars(measured),
            candidate=candidate.name,
            batch=setting.batch,
            streams=setting.streams,
            started=started,
            before=before,
            after=DeviceState.read(gpu=gpu),
        )

    def trials(self, candidate: Candidate) -> Iterator[Trial]:
        """What is tried to find how the candidate serves most samples a second."""
        model, config = Model.of(candidate.engine), self.config
        largest = min(config.batch, model.largest_batch or config.batch)
        batches = batches_up_to(largest, model.signature.inputs[0].shape[0])
        streams = (1,) if TARGETS[model.runtime].gpu else streams_up_to(config.threads)
        return tried(batches, streams, lambda setting: self._trial(candidate, setting))

    def _trial(self, candidate: Candidate, setting: Setting) -> Trial:
        outcome = self.block(candidate, setting, index=0, min_calls=_TRIAL_CALLS)
        per_second, failure = 0.0, ""
        if isinstance(outcome, Failure):
            failure = outcome.what
        elif outcome.mismatches:
            failure = f"{outcome.mismatches} answers were others than expected"
        else:
            assert outcome.elapsed_ns is not None
            per_second = len(outcome.samples_ns) * setting.batch * 1e9 / outcome.elapsed_ns
        return Trial(candidate.name, setting.batch, setting.streams, per_second, failure)


def _require_fit(candidate: Candidate, dataset: Dataset, config: MeasureConfig) -> None:
    model = Model.of(candidate.engine)
    fixed, largest = model.signature.inputs[0].shape[0], model.largest_batch
    too_large = fixed not in (None, config.batch) or config.batch > (largest or config.batch)
    if too_large and config.mode != "offline":
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
