"""`edgestill profile`: how fast a release, an engine or an ONNX file is on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy

from edgestill.arguments import PathLike, as_count, as_path
from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    Engine,
    OnnxDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
from edgestill.capture import captured
from edgestill.console import Console
from edgestill.data.raw import INPUT_NAME
from edgestill.digest import digest_folder
from edgestill.errors import DeviceError, UsageError
from edgestill.measuring import Session, measured_rounds
from edgestill.quantities import duration_text, size_text, time_text
from edgestill.release import MANIFEST, open_release
from edgestill.spelling import did_you_mean
from edgestill.targets import TARGETS, get_target
from edgestill.targets.blocks import MeasureConfig as TimingConfig
from edgestill.targets.energy import find_meter
from edgestill.targets.fingerprint import Fingerprint, usable_cores
from edgestill.targets.measure import Candidate, predict
from edgestill.verify.config import BASELINE, LARGEST_BATCH, Load, MeasureConfig, timing
from edgestill.verify.evidence import Candidate as Answered
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import summarize
from edgestill.verify.loads import offline, paced
from edgestill.verify.results import LatencyResult, OfflineResult, PacedResult

MODES = ("single", "offline")  # a rate stands for itself, as in a recipe
SYNTHETIC_SAMPLES = 32
LEVEL = 0.95
_LONG_S = 60.0


@dataclass(frozen=True)
class Profile:
    """Figures of engines that were measured together, interleaved.

    Attributes:
        latencies: of each engine by its name, one call after the other.
        offline: the same in the mode `offline`.
        paced: the same at a rate.
        notes: what was fed, and how much is shipped.
        failures: engines that crashed, hung or answered otherwise; the figures are of the others.
    """

    source: str
    target: str
    runtime: str
    device: Fingerprint
    latencies: dict[str, LatencyResult]
    offline: dict[str, OfflineResult]
    paced: dict[str, PacedResult]
    notes: tuple[str, ...]
    failures: tuple[str, ...] = ()


def profile_model(
    path: PathLike,
    *,
    target: str | None = None,
    mode: str = "single",
    batch: int | None = None,
    rate: float | None = None,
    threads: int | None = None,
    rounds: int = 12,
    console: Console | None = None,
) -> Profile:
    """Measure what lies at `path`: a release, an engine's folder, or an `.onnx` file.

    Args:
        target: which runtime; by default the first that can run here.
        mode: `single`, one call after the other; or `offline`, all samples are there and as many
            are served at once as is best.
        batch: samples of one call, by default 1; offline the largest that is tried, by default 64.
        rate: requests a second, which arrive at random times.
        threads: of the runtime; by default the cores that this process may use.
        rounds: blocks of each candidate; fewer than 12 give no interval.

    Raises:
        UsageError: nothing that can be profiled lies there; a mode that there is not, or a rate
            that is none or has no meaning.
        DeviceError: the target cannot run here.
    """
    console = console or Console()
    path = as_path(path, "path")
    threads = usable_cores() if threads is None else as_count(threads, "threads")
    load = _load(mode, None if batch is None else as_count(batch, "batch"), rate)
    config = timing(MeasureConfig(rounds=as_count(rounds, "rounds")), threads, load)
    with TemporaryDirectory(prefix="edgestill-") as name:
        scratch = Path(name)
        log = scratch / "log.txt"
        with captured(log):
            subject = _subject(path, target, scratch)
        chosen, dataset = subject.target, subject.dataset
        found = get_target(chosen).probe()
        if not found.can_run:
            raise DeviceError(f"{chosen} cannot run here ({found.reason})", fix=found.fix)
        answered = []
        with captured(log):
            for label, engine in subject.engines.items():
                out = scratch / f"answers-{label}"
                out.mkdir()
                answers = predict(engine, dataset, out, threads=threads)
                answered.append(Answered(label, engine, None, answers))
        measured = [Candidate(c.name, c.engine, c.test) for c in answered]
        lasts_s = config.arriving_s * config.rounds * len(measured)
        if lasts_s > _LONG_S:
            console.say(f"it takes {duration_text(lasts_s)} until all requests have come")
        with console.step(f"measure {chosen}"), captured(log):
            session = Session(measured, dataset, config)
            collected = tuple(measured_rounds(session, console.progress))
        at = load.batch if load.mode == "single" else load
        evidence = Evidence(chosen, tuple(answered), {at: collected})
        notes = [f"Fed: {subject.fed}."]
        if subject.compile_s is not None:
            notes.append(f"Compiled in {time_text(subject.compile_s)}.")
        failures = evidence.failures
        if len(failures) == len(answered):
            raise DeviceError("; ".join(failures.values()), where=str(path))
        failed = tuple(f"{name} failed: {what}." for name, what in failures.items())
        notes += failed
        notes += _energy_notes(chosen, config)
        notes += [f"Size of {c.name}: {size_text(c.engine.size_bytes)}." for c in answered]
        names = [c.name for c in answered if c.name not in failures]
        latencies = {n: summarize(evidence, n, load.batch, threads, LEVEL, ()) for n in names}
        served = {name: offline(evidence, name, load, LEVEL) for name in names}
        waited = {name: paced(evidence, name, load, LEVEL) for name in names}
        return Profile(
            source=str(path),
            target=chosen,
            runtime=f"{chosen} {found.version}",
            device=Fingerprint.read(),
            latencies=_given(latencies),
            offline=_given(served),
            paced=_given(waited),
            notes=tuple(notes),
            failures=failed,
        )


def _energy_notes(target: str, config: TimingConfig) -> list[str]:
    """Why no energy is given, where none is."""
    try:
        meter = find_meter(gpu=TARGETS[target].gpu)
    except DeviceError as error:
        return [f"Energy: not measured, {error.what}."]
    shortest_s = meter.shortest_window_ns / 1e9
    if config.block_seconds >= shortest_s:
        return []
    return [
        f"Energy: only blocks of {time_text(shortest_s)} or more tell it ({meter.source}); these "
        f"may have been as short as {time_text(config.block_seconds)} (measure.block in a recipe)."
    ]


def _load(mode: str, batch: int | None, rate: float | None) -> Load:
    """What is asked of the engines."""
    if mode not in MODES:
        fix = did_you_mean(mode, MODES, "Modes")
        fix = f"{fix}. With a rate, such as --rate 100/s, requests arrive at random times"
        raise UsageError(f"'{mode}' is not a mode", where="mode", fix=fix)
    if rate is None:
        offline = mode == "offline"
        return Load("offline", batch or LARGEST_BATCH) if offline else Load("single", batch or 1)
    if mode == "offline":
        raise UsageError(
            "offline, all samples are there, and none arrives at a rate",
            where="rate",
            fix="Leave out the rate, or the mode",
        )
    if not 0 < rate < math.inf:
        raise UsageError(
            f"{rate:g}/s is no rate", where="rate", fix="Give one above 0, such as --rate 100/s"
        )
    return Load("paced", batch or 1, rate)


Found = TypeVar("Found")


def _given(found: Mapping[str, Found | None]) -> dict[str, Found]:
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class _Subject:
    """What is measured.

    Attributes:
        engines: by the name that each has in the result.
        fed: what the samples are, in words.
        compile_s: what compiling took, where that was done here.
    """

    target: str
    engines: dict[str, Engine]
    dataset: Dataset
    fed: str
    compile_s: float | None = None


def _subject(path: Path, target: str | None, scratch: Path) -> _Subject:
    if (path / MANIFEST).is_file():
        return _release(path, target)
    if (path / "engine.json").is_file():
        engine = Engine(path, digest_folder(path))
        description = engine.description
        if target not in (None, description.target):
            raise UsageError(
                f"the engine is for {description.target}, not for {target}",
                where=str(path),
                fix="Leave --target out, or profile the ONNX file that it was made from",
            )
        dataset = synthetic(description.signature, scratch / "samples")
        return _Subject(description.target, {description.precision: engine}, dataset, _RANDOM)
    if (path / "onnx.json").is_file():  # the folder of an ONNX model, as a release has it
        path = path / "model.onnx"
    if path.suffix == ".onnx" and path.is_file():
        target = target or _first_that_runs(path)
        engine, compile_s = _compiled(path, target, scratch)
        found = engine.description
        dataset = synthetic(found.signature, scratch / "samples")
        return _Subject(target, {found.precision: engine}, dataset, _RANDOM, compile_s)
    raise UsageError(
        "nothing that can be profiled" if path.exists() else "there is no such file or folder",
        where=str(path),
        fix="Give a release, an engine's folder or an .onnx file",
    )


def _first_that_runs(path: Path) -> str:
    """The first target that compiles and runs here."""
    probed = {name: get_target(name).probe() for name in TARGETS}
    able = [name for name, found in probed.items() if found.can_compile and found.can_run]
    if not able:
        raise DeviceError(
            "no target can run here",
            where=str(path),
            fix="; ".join(f"{name}: {found.reason}" for name, found in probed.items()),
        )
    return able[0]


_RANDOM = "random numbers"
_FLOATS = ("float16", "float32", "float64")
_DTYPES = (*_FLOATS, "bool", "uint8", "int8", "int16", "int32", "int64")


def _release(path: Path, target: str | None) -> _Subject:
    release = open_release(path)
    released = release.targets([] if target is None else [target])
    chosen = next((t for t in released if get_target(t.target).probe().can_run), released[0])
    engines = {name: release.engine(place) for name, place in chosen.candidates.items()}
    if chosen.baseline is not None:
        engines = {BASELINE: release.engine(chosen.baseline), **engines}
    fed = "the evaluation set of the release"
    return _Subject(chosen.target, engines, release.evaluation, fed)


def _compiled(path: Path, target: str, scratch: Path) -> tuple[Engine, float]:
    """An engine of a float or a quantized ONNX file, and how long compiling took, in seconds."""
    from edgestill.onnx_file import read_model, rename, tensor_specs, write_model

    runtime = get_target(target)
    model = read_model(path)
    for index, value in enumerate(model.graph.input):
        # Samples lie in files of their input's name, and a name may be anything, `../x` too.
        if not INPUT_NAME.fullmatch(value.name):
            rename(model.graph, value.name, f"input_{index}")
            value.name = f"input_{index}"
    folder = scratch / "onnx"
    folder.mkdir()
    write_model(model, folder)
    outputs = tensor_specs(model.graph.output)
    signature = Signature(tensor_specs(model.graph.input), outputs, outputs[0].name)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    precision = "int8" if quantized else "fp32"
    source = OnnxModel.seal(folder, OnnxDescription(signature, precision))
    out = scratch / "engine"
    out.mkdir()
    started = time.monotonic()
    engine = runtime.compile(source, precision, TARGETS[target].options(), out)
    return engine, time.monotonic() - started


def synthetic(signature: Signature, folder: Path) -> Dataset:
    """Random samples that fit a signature: bytes over their range, floats normal, indices 0 and 1.

    Raises:
        UsageError: a size beside the batch is free, or a type or name is one that no sample has.
    """
    generator = numpy.random.default_rng(0)
    (folder / "inputs").mkdir(parents=True)
    specs = []
    for spec in signature.inputs:
        fits = spec.shape and INPUT_NAME.fullmatch(spec.name) and spec.dtype in _DTYPES
        if not fits:
            raise UsageError(
                f"no samples can be made for the model's input {spec}",
                fix="Profile a release, which has samples of its own",
            )
        if None in spec.shape[1:]:
            raise UsageError(
                f"the model's input {spec} has a free size",
                fix="Profile a release, which has samples of its own",
            )
        shape = (SYNTHETIC_SAMPLES, *(size or 1 for size in spec.shape[1:]))
        dtype = numpy.dtype(spec.dtype)
        if dtype.kind == "f":
            array = generator.standard_normal(shape).astype(dtype)
        else:
            highest = 256 if dtype == numpy.uint8 else 2
            array = generator.integers(0, highest, shape).astype(dtype)
        numpy.save(folder / "inputs" / f"{spec.name}.npy", array, allow_pickle=False)
        specs.append(TensorSpec(spec.name, spec.dtype, (None, *spec.shape[1:])))
    description = DatasetDescription("test", SYNTHETIC_SAMPLES, "custom", tuple(specs))
    return Dataset.seal(folder, description)
