"""What flows between steps: a folder with a digest, and a typed view for each kind of content.

A view reads its description (one small JSON file) when asked; arrays and models stay on disk
until somebody opens them. Nothing here imports numpy, torch or a runtime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from edgestill.digest import canonical, digest_folder
from edgestill.errors import StoreError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Description = TypeVar("Description")
View = TypeVar("View", bound="Artifact[Any]")


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output; the first dimension is the batch.

    Attributes:
        dtype: numpy's name for it, such as `uint8` or `float32`.
        shape: sizes, with None where the size is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs, in order; `prediction` names the output that metrics read."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prediction: str


@dataclass(frozen=True)
class Artifact(Generic[Description]):
    """A folder whose content has the digest `digest`."""

    path: Path
    digest: str

    kind: ClassVar[str]
    description_type: ClassVar[type]

    @classmethod
    def seal(cls: type[View], path: Path, description: Any) -> View:
        """Write `description` into the finished folder `path` and return its view."""
        text = json.dumps(canonical(description), indent=2, ensure_ascii=False) + "\n"
        (path / f"{cls.kind}.json").write_text(text, encoding="utf-8")
        return cls(path, digest_folder(path))

    @cached_property
    def description(self) -> Description:
        """The content of the folder's JSON description.

        Raises:
            StoreError: the folder does not hold this kind of artifact.
        """
        from pydantic import ValidationError

        file = self.path / f"{self.kind}.json"
        try:
            description: Description = _adapter(self.description_type).validate_json(
                file.read_bytes()
            )
            return description
        except (OSError, ValidationError) as error:
            raise StoreError(f"not a readable {self.kind} ({error})", where=str(file)) from error


@cache
def _adapter(description_type: type) -> TypeAdapter[Any]:
    """Made once for each type: making one takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(description_type)


@dataclass(frozen=True)
class DatasetDescription:
    """One split of a data source.

    Attributes:
        role: train, calibration, validation or test.
        task: classification, multilabel, regression or custom.
        class_names: in the order of the label numbers; empty where there are no classes.
    """

    role: str
    count: int
    task: str
    inputs: tuple[TensorSpec, ...]
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset(Artifact[DatasetDescription]):
    """`inputs/<name>.npy` `[n, ...]`, `labels.npy` `[n, ...]` and `ids.npy` `[n] uint64`."""

    kind = "dataset"
    description_type = DatasetDescription

    def input_path(self, name: str) -> Path:
        return self.path / "inputs" / f"{name}.npy"

    @property
    def labels_path(self) -> Path:
        return self.path / "labels.npy"


@dataclass(frozen=True)
class CheckpointDescription:
    """Weights of a model.

    Attributes:
        origin: "trained", "distilled", "loaded" or "built" (the callable brought its own weights).
        validation: the metric on the validation split for each epoch; empty when not trained here.
        best_epoch: the epoch whose weights these are; None when not trained here.
        processes: how many trained it together; None when not trained here.
    """

    model: str
    origin: str
    parameters: int
    validation: tuple[float, ...] = ()
    best_epoch: int | None = None
    processes: int | None = None


@dataclass(frozen=True)
class Checkpoint(Artifact[CheckpointDescription]):
    """`weights.safetensors`: the state dict; `log/` has the training's history."""

    kind = "checkpoint"
    description_type = CheckpointDescription

    @property
    def weights_path(self) -> Path:
        return self.path / "weights.safetensors"


@dataclass(frozen=True)
class Column:
    """One thing that was recorded of a teacher.

    Attributes:
        layer: the layer it comes from; None for the prediction.
        part: what of the layer it is.
        classes: of a prediction, the size of its class axis; else 0.
        top_k: how many of the classes are kept; None for all.
    """

    layer: str | None
    part: str
    classes: int
    top_k: int | None


@dataclass(frozen=True)
class RecordingDescription:
    """A teacher's answers on the views of a train split.

    Attributes:
        teacher: the digest of its checkpoint or ONNX model, or of what the recipe says of its
            function.
        samples: the digest of the samples' hashes.
        augment: the settings by which views are made; None without.
        views: how many views of each sample there are.
    """

    teacher: str
    samples: str
    augment: dict[str, Any] | None
    views: int
    count: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Recording(Artifact[RecordingDescription]):
    """`views/<v>/<column>.npy` `[count, ...]`; `edgestill.train.teachers.recorded` reads it."""

    kind = "recording"
    description_type = RecordingDescription


@dataclass(frozen=True)
class LayerError:
    """How far a layer of an int8 model answers from the float model's, on calibration samples.

    Attributes:
        name: of the PyTorch module that has its weights, where the file tells.
        operator: of ONNX.
        error: the root mean square difference at its output over the standard deviation of the
            float output; the errors of the layers before it are in it.
    """

    name: str
    operator: str
    error: float


@dataclass(frozen=True)
class OnnxDescription:
    """Attributes:
    precision: fp32 or int8.
    scheme: the quantization scheme of an int8 model (cpu or tensorrt), else None.
    layers: of an int8 model, those with weights in the order of the graph.
    """

    signature: Signature
    precision: str
    scheme: str | None = None
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class OnnxModel(Artifact[OnnxDescription]):
    """`model.onnx`, with `model.onnx.data` beside it where it is large."""

    kind = "onnx"
    description_type = OnnxDescription

    @property
    def model_path(self) -> Path:
        return self.path / "model.onnx"


@dataclass(frozen=True)
class EngineDescription:
    """A model compiled for one target.

    Attributes:
        file: the file that the runtime opens, relative to the folder.
        options: what it was compiled with and has to be loaded with, as plain JSON values.
        built_on: the part of the build machine's fingerprint that the engine is bound to.
    """

    target: str
    precision: str
    scheme: str | None
    signature: Signature
    file: str
    options: dict[str, Any]
    built_on: dict[str, str]


@dataclass(frozen=True)
class Engine(Artifact[EngineDescription]):
    """What a runtime loads: an optimised ONNX file, an OpenVINO IR, a TensorRT plan."""

    kind = "engine"
    description_type = EngineDescription

    @property
    def size_bytes(self) -> int:
        """What has to be shipped: every file but the description and the logs."""
        files = (file for file in self.path.rglob("*") if file.is_file())
        names = {file: file.relative_to(self.path).as_posix() for file in files}
        shipped = [f for f, n in names.items() if n != "engine.json" and not n.startswith("log/")]
        return sum(file.stat().st_size for file in shipped)


@dataclass(frozen=True)
class PredictionsDescription:
    """What a model answered on a dataset.

    Attributes:
        runtime: what computed it, such as `torch` or `openvino`.
        outputs: names in the model's order; `prediction` is the one that metrics read.
    """

    runtime: str
    count: int
    outputs: tuple[str, ...]
    prediction: str


@dataclass(frozen=True)
class Predictions(Artifact[PredictionsDescription]):
    """`outputs/<n>.npy` `[count, ...]`, n being the output's position."""

    kind = "predictions"
    description_type = PredictionsDescription

    def output_path(self, name: str) -> Path:
        return self.path / "outputs" / f"{self.description.outputs.index(name)}.npy"
