"""Whether a planted wrong layer is found, wherever it is, and how long a search takes.

    python tests/benchmarks/bisecting.py --json bisecting.json

Networks of 50 layers with weights: residual convolutions, a plain MLP, a transformer. In each, one
weight tensor is altered at a time, at every position, and the first layer that departs is looked
for. A line per network, pair and alteration: found, and the slowest search. Ends with 1 when one
is not found, or takes 20 s. What changes no answer, such as a weight of a dead ReLU, is left out of
the total. Alterations marked "subtle" are of the size of what int8 itself does to a layer, and
count only between float graphs.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    Engine,
    OnnxDescription,
    OnnxModel,
    TensorSpec,
)
from edgestill.departures.engines import Compiling, search_engine
from edgestill.departures.graph import Graph
from edgestill.departures.result import Departure
from edgestill.departures.search import (
    TOLERANCE,
    Arrays,
    observer,
    relative_error,
    search_onnx,
)
from edgestill.export.config import ExportConfig
from edgestill.export.modules import first_departing
from edgestill.export.stage import write_onnx
from edgestill.extras import require, set_switches
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model, write_model
from edgestill.quantize.config import QuantizeStep
from edgestill.quantize.stage import QuantizeInputs, quantize
from edgestill.step import StepContext
from edgestill.targets.openvino import OpenVino
from edgestill.targets.options import OpenVinoOptions

LIMIT_S = 20.0
SAMPLES = 8
Array = NDArray[Any]


class Residual(nn.Module):
    """48 convolutions in 24 residual blocks, one before and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
            for _ in range(24)
        )
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for first, second in self.blocks:  # type: ignore[misc]
            x = torch.relu(x + 0.5 * second(torch.relu(first(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Twelve layers of four weights, an embedding of patches before and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)
        for parameter in self.layers.parameters():  # else all layers have the same weights
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.reshape(-1, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 16, 48)
        return self.head(self.layers(self.embed(patches)).mean(1))  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    """50 linear layers."""
    hidden = [part for _ in range(48) for part in (nn.Linear(32, 32), nn.ReLU())]
    first = (nn.Flatten(), nn.Linear(768, 32), nn.ReLU())
    network = nn.Sequential(*first, *hidden, nn.Linear(32, 10))
    for part in network:
        if isinstance(part, nn.Linear):  # else the signal fades with the depth
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "mlp": mlp,
    "transformer": Transformer,
}


def noisy(weight: Array) -> Array:
    noise = numpy.random.default_rng(0).normal(size=weight.shape)
    return weight + 0.1 * weight.std() * noise


def channel(weight: Array) -> Array:
    altered = weight.copy()
    altered[0] = 0
    return altered


ALTERATIONS: dict[str, Callable[[Array], Array]] = {
    "negated": lambda weight: -weight,
    "shuffled": lambda weight: (
        numpy.random.default_rng(0).permutation(weight.ravel()).reshape(weight.shape)
    ),
    "10% noise": noisy,
    "a row zeroed": channel,
}
SUBTLE = ("10% noise", "a row zeroed")


@dataclass(frozen=True)
class Result:
    network: str
    pair: str
    alteration: str
    found: int
    total: int
    slowest_s: float
    counts: bool


class Altering(OpenVino):
    """OpenVINO, but for one weight that it gets wrong."""

    def __init__(self, weight: str, alter: Callable[[Array], Array], work: Path) -> None:
        super().__init__()
        self._weight, self._alter, self._work = weight, alter, work

    def compile(self, model: OnnxModel, precision: str, options: Any, out: Path) -> Engine:
        folder = self._work / "altered"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_model(altered(read_model(model.model_path), self._weight, self._alter), folder)
        return super().compile(OnnxModel.seal(folder, model.description), precision, options, out)


def altered(model: Any, weight: str, alter: Callable[[Array], Array]) -> Any:
    """A copy of an ONNX model with one weight changed; int8 ones keep their type."""
    numpy_helper = require("onnx.numpy_helper", extra="build")
    copy = type(model)()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == weight)
    array = numpy_helper.to_array(tensor)
    changed = alter(array.astype(numpy.float64))
    if array.dtype == numpy.int8:
        changed = numpy.clip(numpy.round(changed), -128, 127)
    tensor.CopyFrom(numpy_helper.from_array(changed.astype(array.dtype), weight))
    return copy


def weights(model: Any) -> dict[str, set[str]]:
    """The weights of layers, each with the nodes that read it, if through a DequantizeLinear."""
    nodes = model.graph.node
    unpacked = {n.output[0]: n.input[0] for n in nodes if n.op_type == "DequantizeLinear"}
    found: dict[str, set[str]] = {
        t.name: set() for t in model.graph.initializer if len(t.dims) > 1 and t.data_type in (1, 3)
    }
    for node in nodes:
        for name in (unpacked.get(name, name) for name in node.input):
            if name in found and node.op_type in ("Conv", "Gemm", "MatMul"):
                found[name].add(node.name)
    return {name: readers for name, readers in found.items() if readers}


def prepared(name: str, folder: Path) -> tuple[DeviceModel, OnnxModel, OnnxModel, Dataset]:
    """The network in PyTorch, as ONNX and in int8, and samples."""
    torch.manual_seed(0)
    images = numpy.random.default_rng(1).normal(size=(32, 3, 16, 16)).astype(numpy.float32)
    spec = TensorSpec("x", "float32", (None, 3, 16, 16))
    model = DeviceModel(NETWORKS[name](), None, (spec,)).eval()
    for part in ("data/inputs", "float", "int8", "work"):
        (folder / part).mkdir(parents=True)
    numpy.save(folder / "data" / "inputs" / "x.npy", images)
    data = Dataset.seal(
        folder / "data", DatasetDescription("calibration", len(images), "custom", (spec,))
    )
    signature = write_onnx(model, {"x": images}, ExportConfig(), folder / "float")
    exported = OnnxModel.seal(folder / "float", OnnxDescription(signature, "fp32"))
    context = StepContext(folder, folder / "work", lambda share, words: None, lambda line: None)
    int8 = quantize(
        QuantizeStep(300, "cpu"), QuantizeInputs(exported, data), folder / "int8", context
    )
    return model, exported, int8, data


def audible(
    model: Any, places: dict[str, set[str]], alter: Callable[[Array], Array], feeds: Arrays
) -> dict[str, set[str]]:
    """The weights whose alteration changes an answer."""

    def answers(made: Any) -> Array:
        return observer(Graph(made), ["logits"], feeds)(["logits"])["logits"]

    right = answers(model)
    return {
        weight: readers
        for weight, readers in places.items()
        if relative_error(right, answers(altered(model, weight, alter))) > TOLERANCE
    }


def trial(
    places: dict[str, set[str]], search: Callable[[str], Departure | None]
) -> tuple[int, float]:
    """How many of the weights were found, and the slowest search."""
    found, slowest = 0, 0.0
    for weight, readers in places.items():
        started = time.perf_counter()
        departure = search(weight)
        slowest = max(slowest, time.perf_counter() - started)
        modules = {reader.rpartition("/")[0] for reader in readers}
        found += departure is not None and (
            departure.node in readers or departure.module in modules - {""}
        )
    return found, slowest


def run(network: str, folder: Path, every: int) -> Iterator[Result]:
    model, exported, int8, data = prepared(network, folder)
    feeds = {"x": numpy.load(data.input_path("x"))[:SAMPLES]}
    floats, quantized = read_model(exported.model_path), read_model(int8.model_path)
    file = folder / "altered"
    file.mkdir()

    def in_torch(weight: str, alter: Callable[[Array], Array]) -> Departure | None:
        write_model(altered(floats, weight, alter), file)
        return first_departing(file / "model.onnx", model, feeds)

    def in_engine(weight: str, alter: Callable[[Array], Array]) -> Departure | None:
        target = Altering(weight, alter, folder / "work")
        compiling = Compiling(target, "fp32", OpenVinoOptions(), threads=1)
        return search_engine(exported, compiling, feeds, 1e-3, folder / "work")

    places, few = weights(floats), dict(list(weights(floats).items())[::every])
    pairs: dict[str, tuple[Any, dict[str, set[str]], Callable[..., Departure | None]]] = {
        "torch, onnx": (floats, places, in_torch),
        "onnx, onnx": (
            floats,
            places,
            lambda w, alter: search_onnx(floats, altered(floats, w, alter), feeds),
        ),
        "onnx, int8": (
            quantized,
            weights(quantized),
            lambda w, alter: search_onnx(floats, altered(quantized, w, alter), feeds),
        ),
        "onnx, openvino": (floats, few, in_engine),
    }
    for pair, (right, everywhere, search) in pairs.items():
        for name, alter in ALTERATIONS.items():
            if pair == "onnx, openvino" and name in SUBTLE:
                continue
            at = audible(right, everywhere, alter, feeds)
            found, slowest = trial(
                at, lambda weight, alter=alter, search=search: search(weight, alter)
            )
            counts = not (pair == "onnx, int8" and name in SUBTLE)
            yield Result(network, pair, name, found, len(at), slowest, counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--only", choices=[*NETWORKS], help="one network")
    parser.add_argument("--every", type=int, default=5, help="of the layers of engines, which")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    results = []
    for network in [chosen.only] if chosen.only else NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            for result in run(network, Path(folder), chosen.every):
                results.append(result)
                what = f"{result.network:<12} {result.pair:<15} {result.alteration:<13}"
                found = f"found {result.found:>2} of {result.total:>2}"
                mark = "" if result.counts else "   subtle"
                print(f"{what} {found}   slowest {result.slowest_s:5.2f} s{mark}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    counted = [result for result in results if result.counts]
    kept = all(r.found == r.total and r.slowest_s < LIMIT_S for r in counted)
    print(f"{sum(r.found for r in counted)} of {sum(r.total for r in counted)} found")
    return 0 if kept else 1


if __name__ == "__main__":
    set_switches("torch")
    sys.exit(main())
