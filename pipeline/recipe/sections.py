"""The sections of a recipe, each read into its type."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field

from edgestill.data.config import DataConfig
from edgestill.export.config import ExportConfig
from edgestill.metric_config import FunctionMetric, MetricConfig
from edgestill.quantize.config import QuantizeConfig
from edgestill.recipe.document import Document
from edgestill.recipe.draft import KEYS, Draft
from edgestill.recipe.gates import read_gates
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import BROKEN, FieldReader, Reader
from edgestill.recipe.schema import (
    REFUSED_KEYS,
    GateConfig,
    Recipe,
    TargetConfig,
    Task,
    TrainedModelConfig,
)
from edgestill.recipe.schemes import SchemeReader
from edgestill.recipe.targets import read_targets
from edgestill.recipe.tasks import DEFAULT_METRICS, metrics_of
from edgestill.recipe.teachers import read_teachers
from edgestill.spelling import did_you_mean
from edgestill.targets.fingerprint import usable_cores
from edgestill.verify.config import MeasureConfig

_Threads = Annotated[int, Field(gt=0, le=1024)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Sections:
    """Reads one document; each method reads one section."""

    def __init__(self, document: Document) -> None:
        self.tree = document.tree
        self.problems = document.problems
        self.reader = Reader(document.problems)

    def draft(self, path: FilePath, base: FilePath) -> Draft:
        """The whole recipe."""
        self.reader.unknown_keys(self.tree, (), KEYS)
        task: Task = self.field("task", Task, "classification")
        metric = self.metric(task)
        schemes = SchemeReader(self.reader)
        distill = self.own("distill", schemes.scheme, None)
        assistants = self.own("assistants", schemes.assistants, [])
        quantize = self.section("quantize", QuantizeConfig)
        targets = self.targets()
        gates = self.gates(task, metric)
        recipe = Recipe(
            name=self.name(),
            seed=self.field("seed", Annotated[int, Field(ge=0, lt=2**32)], 0),
            threads=self.field("threads", _Threads, None) or usable_cores(),
            task=task,
            metric=metric,
            data=self.data(),
            teacher=self.section("teacher", TrainedModelConfig),
            teachers=read_teachers(self.reader, self.tree.get("teachers"), ("teachers",)),
            assistants=tuple(assistant for _, assistant in assistants),
            student=self.section("student", TrainedModelConfig),
            distill=distill,
            export=self.section("export", ExportConfig) or ExportConfig(),
            quantize=quantize,
            targets=tuple(target for _, target in targets),
            measure=self.section("measure", MeasureConfig) or MeasureConfig(),
            gates=tuple((name, gate) for _, name, gate in gates),
            path=path,
            base=base,
        )
        return Draft(recipe, self.tree, self.problems, schemes.losses, assistants, targets, gates)

    def field(self, key: str, annotation: Any, default: Any) -> Any:
        """A plain value at the top of the recipe."""
        if self.tree.get(key) is None:
            return default
        value = self.reader.value(annotation, self.tree[key], (key,))
        return default if value is BROKEN else value

    def section(self, key: str, kind: type[Any]) -> Any:
        """A section that is one config type; None where it is left out."""
        value = self.tree.get(key)
        if value is None:
            return None
        return self.reader.config(kind, value, (key,), refused=REFUSED_KEYS.get(key, ()))

    def own(self, key: str, read: FieldReader, default: Any) -> Any:
        """A section that is read in its own way; `default` where it is left out."""
        value = self.tree.get(key)
        return default if value is None else read(value, (key,))

    def name(self) -> str:
        name: str = self.field("name", str, "")
        if self.tree.get("name") is None:
            fix = "Give the release a name, such as name: digits."
            self.reader.missing(self.tree, (), "name", KEYS, fix)
        elif name and not _NAME.fullmatch(name):
            self.problems.add(
                ("name",),
                f"{show_value(name)} cannot name a folder",
                "Use letters, digits, '.', '_' and '-'.",
            )
        return name

    def data(self) -> DataConfig:
        if self.tree.get("data") is None:
            fix = "Say where samples come from: data: {source: ...}."
            self.reader.missing(self.tree, (), "data", KEYS, fix)
        return self.section("data", DataConfig) or DataConfig(source="")

    def metric(self, task: Task) -> MetricConfig:
        value = self.tree.get("metric")
        if isinstance(value, dict):
            metric = self.reader.config(FunctionMetric, value, ("metric",))
            return metric or FunctionMetric("", "bigger")
        name: str = self.field("metric", str, "")
        known = metrics_of(task)
        if task == "custom" and not self.problems.within(("metric",)):
            what = f"{show_value(name)} cannot judge a custom task" if name else "missing"
            fix = "A custom task needs metric: {function: file.py:callable, better: bigger}."
            self.problems.add(("metric",), what, fix)
        elif name and name not in known:
            self.problems.add(
                ("metric",),
                f"{show_value(name)} is not a metric of {task}",
                did_you_mean(name, known, "Known metrics")
                + ". Or bring your own: {function: file.py:callable, better: bigger}.",
            )
        return name if name in known else DEFAULT_METRICS.get(task, "")

    def targets(self) -> list[tuple[Path, TargetConfig]]:
        value, quantize = self.tree.get("targets"), self.tree.get("quantize") is not None
        if value is None:
            return []
        return read_targets(self.reader, value, ("targets",), quantize=quantize)

    def gates(self, task: Task, metric: MetricConfig) -> list[tuple[Path, str, GateConfig]]:
        value = self.tree.get("gates")
        if value is None:
            return []
        return read_gates(self.reader, value, ("gates",), task=task, metric=metric)
