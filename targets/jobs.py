"""What a worker process is asked to do, as it travels over the pipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions, Signature
from edgestill.targets import get_target
from edgestill.targets.base import Session
from edgestill.targets.blocks import Mode


@dataclass(frozen=True)
class Model:
    """An engine, or an ONNX model that ONNX Runtime opens as it is."""

    kind: Literal["engine", "onnx"]
    path: Path
    digest: str

    @classmethod
    def of(cls, artifact: Engine | OnnxModel) -> Model:
        kind: Literal["engine", "onnx"] = "engine" if isinstance(artifact, Engine) else "onnx"
        return cls(kind, artifact.path.absolute(), artifact.digest)

    @property
    def artifact(self) -> Engine | OnnxModel:
        return _artifact(self)

    @property
    def signature(self) -> Signature:
        return self.artifact.description.signature

    @property
    def runtime(self) -> str:
        """The target that runs it."""
        artifact = self.artifact
        return artifact.description.target if isinstance(artifact, Engine) else "onnxruntime"

    @property
    def largest_batch(self) -> int | None:
        """None where there is no limit; a fixed batch size is its own limit."""
        artifact = self.artifact
        fixed = self.signature.inputs[0].shape[0]
        if fixed is None and isinstance(artifact, Engine):
            limit: int | None = artifact.description.options.get("max_batch")
            return limit
        return fixed

    def load(self, threads: int, streams: int = 1) -> Session:
        artifact = self.artifact
        if isinstance(artifact, Engine):
            return get_target(self.runtime).load(artifact, threads, streams)
        from edgestill.targets.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(artifact.model_path, self.signature, threads, streams)


@dataclass(frozen=True)
class PredictJob:
    """Ask a model for every sample of a dataset; outputs go to `out/outputs/<n>.npy`."""

    kind: Literal["predict"]
    model: Model
    dataset: Path
    out: Path
    threads: int
    batch: int


@dataclass(frozen=True)
class TimeJob:
    """Time one block.

    Attributes:
        predictions: the model's own, of the same dataset; what the timed calls answer is held
            against them.
        first: the sample that the first call is fed.
        streams: calls that are served at once.
        rate: requests a second, in the mode `paced`.
        seed: of the times at which they arrive.
    """

    kind: Literal["time"]
    model: Model
    dataset: Path
    predictions: Path
    threads: int
    batch: int
    first: int
    block_ns: int
    min_calls: int
    warmup_limit_ns: int
    mode: Mode = "single"
    streams: int = 1
    rate: float | None = None
    seed: int = 0


Job = PredictJob | TimeJob


# The views below read their description once: a process that is forked later has it already.


@lru_cache(maxsize=64)
def _artifact(model: Model) -> Engine | OnnxModel:
    if model.kind == "engine":
        return Engine(model.path, model.digest)
    return OnnxModel(model.path, model.digest)


@lru_cache(maxsize=16)
def open_dataset(path: Path) -> Dataset:
    return Dataset(path, digest="")


@lru_cache(maxsize=64)
def open_predictions(path: Path) -> Predictions:
    return Predictions(path, digest="")


def read_descriptions(job: Job) -> None:
    """Read what a job's artifacts say of themselves, before the process forks and times it."""
    _ = job.model.signature, open_dataset(job.dataset).description
    if isinstance(job, TimeJob):
        _ = open_predictions(job.predictions).description
