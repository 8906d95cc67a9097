"""What a plan is: steps, what each takes, and what stands at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgestill.machine import Hardware
from edgestill.recipe import Recipe, TargetConfig
from edgestill.stages import STAGES, Stage
from edgestill.verify.config import BASELINE


@dataclass(frozen=True)
class Ref:
    """The result of a step, or a part of it.

    Attributes:
        part: the sub-folder that holds the artifact.
        keyed_by: the sub-folder of the part that the receiving step reads, so that a change
            of the rest, such as the labels of samples that are only fed, leaves its key alone.
    """

    step: str
    part: str = ""
    keyed_by: str = ""


Inputs = Mapping[str, Ref | Mapping[str, Ref]]


@dataclass(frozen=True)
class Step:
    """One execution of a stage.

    Attributes:
        inputs: for each field of the stage's inputs, one reference or one by name.
        code: callables of the user whose source the result depends on.
        files: files of the user whose content the result depends on.
        libraries: distributions beside the stage's own whose version the result depends on.
        modules: our own modules that the stage finds through a table, so that no import names them.
        after: steps that have to succeed first, though their result is not read.
        gpu: whether the result belongs to the GPU, whatever the stage's others depend on.
    """

    name: str
    kind: str
    config: Any
    inputs: Inputs = field(default_factory=dict)
    code: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def stage(self) -> Stage:
        return STAGES[self.kind]

    @property
    def hardware(self) -> Hardware:
        """What of the machine its result depends on."""
        return Hardware.GPU if self.gpu else self.stage.hardware

    @property
    def reads(self) -> tuple[str, ...]:
        """The steps whose results it takes, and whose digests its key needs."""
        names: list[str] = []
        for value in self.inputs.values():
            refs = [value] if isinstance(value, Ref) else value.values()
            names += [ref.step for ref in refs]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class TargetPlan:
    """What is compiled for a target, and which steps give it.

    Attributes:
        candidates: precision -> the step that compiles it, in the order of the recipe.
        hops: precision -> the last hop on its way: the engine, or its ONNX where it is not run.
        baseline: the step that compiles the teacher, where there is one and it can be timed.
        evaluate: the step that runs them all; None for a target that is verified elsewhere.
    """

    config: TargetConfig
    candidates: Mapping[str, str]
    hops: Mapping[str, str]
    baseline: str | None
    evaluate: str | None

    @property
    def engines(self) -> dict[str, Ref]:
        """Every engine by the name that measurements use."""
        engines = {name: Ref(step) for name, step in self.candidates.items()}
        return {BASELINE: Ref(self.baseline), **engines} if self.baseline else engines


@dataclass(frozen=True)
class Hop:
    """One place on the way from teacher to device where the model is asked.

    Attributes:
        predictions: what it answered on the test split.
        parent: the hop that it was made from; None for the first.
        model: what answered, as ONNX or an engine; None for PyTorch.
    """

    name: str
    predictions: Ref
    parent: str | None
    model: Ref | None = None


@dataclass(frozen=True)
class Plan:
    """All steps in an order in which they can run, and what stands at the end.

    Attributes:
        between: the steps that give a model between teacher and student, in their order.
    """

    recipe: Recipe
    steps: Mapping[str, Step]
    targets: tuple[TargetPlan, ...]
    hops: tuple[Hop, ...]
    between: tuple[str, ...]
