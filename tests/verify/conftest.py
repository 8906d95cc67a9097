"""Evidence made of real artifacts and of blocks whose times are chosen: no runtime is needed.

The task is a classification of four classes. A candidate's answers are right but for the first so
many; a block's calls lie evenly around the median that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

from edgestill.artifact import (
    Engine,
    EngineDescription,
    Predictions,
    PredictionsDescription,
    Signature,
    TensorSpec,
)
from edgestill.metrics import METRICS
from edgestill.scoring import Scorer
from edgestill.targets.blocks import Block, Failure, Round
from edgestill.targets.fingerprint import DeviceState
from edgestill.verify.assess import Rules
from edgestill.verify.config import MeasureConfig
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.gates import Subject, decide_gates
from edgestill.verify.results import GateResult

Array = NDArray[Any]
CLASSES = 4
SAMPLES = {"validation": 200, "test": 400}
TIMES = {"teacher": 400.0, "fp32": 100.0, "int8": 50.0}
UNKNOWN_STATE = DeviceState(**{field.name: None for field in fields(DeviceState)})


def labels(role: str) -> Array:
    return numpy.arange(SAMPLES[role]) % CLASSES


def logits(role: str, wrong: int) -> Array:
    answered = labels(role)
    answered[:wrong] = (answered[:wrong] + 1) % CLASSES
    return numpy.eye(CLASSES, dtype=numpy.float32)[answered]


@pytest.fixture
def place(tmp_path: Path) -> Callable[[], Path]:
    """A new folder each time."""
    numbers = count()

    def make() -> Path:
        folder = tmp_path / f"artifact{next(numbers)}"
        folder.mkdir()
        return folder

    return make


@pytest.fixture
def predictions(place: Callable[[], Path]) -> Callable[..., Predictions]:
    """The predictions that are these arrays, by output; the first is what metrics read."""

    def make(**outputs: Array) -> Predictions:
        folder = place()
        (folder / "outputs").mkdir()
        for index, array in enumerate(outputs.values()):
            numpy.save(folder / "outputs" / f"{index}.npy", array)
        names = tuple(outputs)
        samples = len(outputs[names[0]])
        return Predictions.seal(folder, PredictionsDescription("numpy", samples, names, names[0]))

    return make


@pytest.fixture
def answers(predictions: Callable[..., Predictions]) -> Callable[..., Predictions]:
    """Predictions on a split of which so many are wrong."""
    return lambda role, wrong: predictions(logits=logits(role, wrong))


@pytest.fixture
def engine(place: Callable[[], Path]) -> Callable[..., Engine]:
    """An engine of so many bytes."""
    spec = TensorSpec("logits", "float32", (None, CLASSES))
    signature = Signature((TensorSpec("image", "uint8", (None, 8)),), (spec,), "logits")

    def make(precision: str = "fp32", size: int = 1000) -> Engine:
        folder = place()
        (folder / "model.bin").write_bytes(bytes(size))
        (folder / "log").mkdir()
        (folder / "log" / "times.txt").write_text("not shipped")
        scheme = "cpu" if precision == "int8" else None
        description = EngineDescription("cpu", precision, scheme, signature, "model.bin", {}, {})
        return Engine.seal(folder, description)

    return make


def block(
    candidate: str,
    median_us: float,
    *,
    calls: int = 61,
    mismatches: int = 0,
    memory: int = 80_000_000,
) -> Block:
    around = numpy.linspace(0.95, 1.05, calls)
    return Block(
        samples_ns=tuple(int(time) for time in around * median_us * 1000),
        load_ns=2_000_000,
        first_call_ns=500_000,
        warmup_calls=30,
        steady=True,
        checked=calls,
        mismatches=mismatches,
        largest_difference=0.34 if mismatches else 0.0,
        peak_rss_bytes=memory,
        candidate=candidate,
        started="2026-11-20T10:00:00.000+00:00",
        before=UNKNOWN_STATE,
        after=UNKNOWN_STATE,
    )  # fmt: skip


@pytest.fixture
def rounds() -> Callable[..., tuple[Round, ...]]:
    """Interleaved blocks.

    Times are the median of a call in microseconds by candidate: one for all rounds, or one for
    each. `failing` names the round in which a candidate fails, `mismatches` the timed calls of each
    block that were answered otherwise, `peaks` the bytes of memory of a candidate's blocks.
    """

    def make(
        times: Mapping[str, float | Sequence[float]],
        *,
        number: int = 12,
        batch: int = 1,
        failing: Mapping[str, int] | None = None,
        mismatches: Mapping[str, int] | None = None,
        peaks: Mapping[str, Sequence[int]] | None = None,
        **options: Any,
    ) -> tuple[Round, ...]:
        failing, wrong, found = failing or {}, mismatches or {}, []
        used = {name: [80_000_000] * number for name in times} | dict(peaks or {})
        for index in range(number):
            medians = {n: t if isinstance(t, float | int) else t[index] for n, t in times.items()}
            blocks = tuple(
                block(
                    name,
                    median,
                    mismatches=wrong.get(name, 0),
                    memory=used[name][index],
                    **options,
                )
                for name, median in medians.items()
                if index < failing.get(name, number)
            )
            failures = tuple(
                Failure(name, "the worker ended with signal 9")
                for name, at in failing.items()
                if at == index
            )
            started = f"2026-11-20T10:00:{index:02}.000+00:00"
            found.append(Round(index, started, batch, 1, blocks, failures))
        return tuple(found)

    return make


@pytest.fixture
def evidence(
    engine: Callable[..., Engine],
    answers: Callable[..., Predictions],
    rounds: Callable[..., tuple[Round, ...]],
) -> Callable[..., Evidence]:
    """Evidence on candidates with these times, and with so many wrong answers on both splits."""

    def make(
        times: Mapping[str, float | Sequence[float]],
        *,
        wrong: Mapping[str, int] | None = None,
        batches: Sequence[int] = (1,),
        sizes: Mapping[str, int] | None = None,
        first_look: int | None = None,
        **options: Any,
    ) -> Evidence:
        wrong, sizes = wrong or {}, sizes or {}
        candidates = tuple(
            Candidate(
                name,
                engine(name, sizes.get(name, 1000)),
                answers("validation", wrong.get(name, 0)),
                answers("test", wrong.get(name, 0)),
            )
            for name in times
        )
        measured = {batch: rounds(times, batch=batch, **options) for batch in batches}
        return Evidence("openvino", candidates, measured, first_look)

    return make


@pytest.fixture
def rules(answers: Callable[..., Predictions]) -> Callable[..., Rules]:
    """Rules with these gates; teacher and student answer everything right."""
    scorers = {
        role: Scorer("classification", METRICS["accuracy"], labels(role)) for role in SAMPLES
    }
    references = {name: answers("test", 0) for name in ("teacher", "student")}

    def make(*gates: tuple[str, Any], **changes: Any) -> Rules:
        rules = {
            "gates": gates,
            "measure": MeasureConfig(),
            "threads": 1,
            "accuracy_drop": 0.01,
            "references": references,
            **scorers,
        }
        return Rules(**{**rules, **changes})

    return make


@pytest.fixture
def subject(
    evidence: Callable[..., Evidence], rules: Callable[..., Rules]
) -> Callable[..., Subject]:
    """int8, or another candidate, with so many wrong answers, among teacher and fp32."""

    def make(
        times: Mapping[str, float | Sequence[float]] = TIMES,
        *,
        wrong: int = 0,
        of: str = "int8",
        **options: Any,
    ) -> Subject:
        found = evidence(times, wrong={of: wrong}, **{"first_look": 12, **options})
        candidate = next(c for c in found.candidates if c.name == of)
        made = rules()
        return Subject(found, candidate, made.references, made.test, 0.95)

    return make


@pytest.fixture
def gate() -> Callable[..., GateResult]:
    """What is decided about one gate, which is called `gate` where it has no other name."""

    def decide(subject: Subject, config: Any, name: str = "gate") -> GateResult:
        (result,) = decide_gates(subject, ((name, config),))
        return result

    return decide
