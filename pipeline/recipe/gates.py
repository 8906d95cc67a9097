"""The gates: which there are, and which budgets have a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgestill.metric_config import FunctionMetric, MetricConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path, show_path, show_value
from edgestill.recipe.reader import Reader
from edgestill.recipe.schema import OWN_METRIC, GateConfig
from edgestill.recipe.tasks import METRIC_FACTS
from edgestill.spelling import did_you_mean
from edgestill.verify.config import (
    GATE_CONFIGS,
    OFFLINE,
    AgreementGate,
    LatencyGate,
    ScoreGate,
    SpeedupGate,
    ThroughputGate,
    load_of,
)

_SHORTEST_LIMIT_S = 1.0  # what loading an engine in a fresh process may take on a slow device


def read_gates(
    reader: Reader, value: Any, path: Path, *, task: str, metric: MetricConfig
) -> list[tuple[Path, str, GateConfig]]:
    """Each gate with its place and name.

    Args:
        metric: the recipe's, which alone is computed and can have a gate.
    """
    score = OWN_METRIC if isinstance(metric, FunctionMetric) else metric
    known = tuple(name for name in (score, *GATE_CONFIGS) if name)
    if not reader.mapping(value, path, known):
        return []
    gates: list[tuple[Path, str, GateConfig]] = []
    for name, entry in value.items():
        place = (*path, name)
        if name not in known:
            _note_unknown(reader, name, place, task, known)
            continue
        if entry is None:
            continue
        kind: type[Any] = GATE_CONFIGS.get(name, ScoreGate)
        if entry == []:
            reader.problems.add(place, "an empty list", "Write a gate, or leave it out.")
        entries = [(place, entry)]
        if isinstance(entry, list):
            entries = [((*place, index), item) for index, item in enumerate(entry)]
        for at, item in entries:
            gate = reader.config(kind, item, at)
            if gate is not None:
                gates.append((at, name, gate))
    return gates


def _note_unknown(reader: Reader, name: str, path: Path, task: str, known: Sequence[str]) -> None:
    if name == OWN_METRIC:
        what = "the gate of a metric of your own, and the recipe has none"
    elif name in METRIC_FACTS and task not in METRIC_FACTS[name].tasks:
        what = f"a metric of {' and '.join(METRIC_FACTS[name].tasks)}, and the task is {task}"
    elif name in METRIC_FACTS:
        fix = f"Write metric: {name}, or a gate on {known[0]}."
        reader.problems.add(path, f"the metric of this recipe is {known[0]}", fix)
        return
    else:
        what = "not a known gate"
    reader.problems.add(path, what, did_you_mean(name, known, "Known gates"))


def check_gates(draft: Draft) -> None:
    """Bounds that are missing or mean nothing, references that are not there, no target."""
    for path, name, gate in draft.gates:
        if isinstance(gate, ScoreGate):
            _check_score(draft, path, name, gate)
        else:
            _check_bound(draft, path, gate)
        _check_reference(draft, path, gate)
        _check_batch(draft, path, gate)
        _check_load(draft, path, gate)
    _check_times(draft)
    _check_budget(draft)
    here = any(target.verify == "here" for _, target in draft.targets)
    if draft.gates and not here and not draft.problems.within(("targets",)):
        what = "no target is verified here, so no gate would be decided"
        fix = "Add a target, such as targets: [{target: onnxruntime}], or leave gates: out."
        draft.problems.add(("gates",), what, fix)


def _check_score(draft: Draft, path: Path, name: str, gate: ScoreGate) -> None:
    add = draft.problems.add
    if draft.problems.within(path):
        return
    bigger, proportion = _facts(draft, name)
    if gate.at_most is None and gate.at_least is None:
        add(path, "a gate without a budget", f"Write {_example(bigger, proportion)}.")
    elif gate.at_most is not None and gate.at_least is not None:
        fix = "Keep one; a list of two gates can have both."
        add(path, "both at_most and at_least", fix)
    elif gate.drop_vs is not None and gate.at_least is not None:
        fix = "Write at_most: the drop may be so large and no larger."
        add((*path, "at_least"), "a drop has no smallest size", fix)
    elif gate.drop_vs is None and bigger and gate.at_most is not None:
        fix = "Write at_least, or drop_vs: teacher for a largest drop."
        add((*path, "at_most"), f"a bigger {name} is better: this would refuse good models", fix)
    elif gate.drop_vs is None and not bigger and gate.at_least is not None:
        fix = f"Write {_example(bigger, proportion)}."
        add((*path, "at_least"), f"a smaller {name} is better: this would refuse good models", fix)
    elif proportion and gate.at_least is not None and gate.at_least <= 0:
        what = f"every model has {show_value(draft.raw(*path, 'at_least'))} of {name}"
        add((*path, "at_least"), what, "Write a value above 0.")
    else:
        key = "at_least" if gate.at_most is None else "at_most"
        _check_scale(draft, (*path, key), getattr(gate, key), name, proportion)


def _check_scale(
    draft: Draft, path: Path, value: float, name: str, proportion: bool | None
) -> None:
    """Points of what is no proportion, and proportions beyond the scale."""
    written = draft.raw(*path)
    if proportion is False and isinstance(written, str):
        what = f"{show_value(written)} is in points, and {name} is not a proportion"
        draft.problems.add(path, what, f"Write a number on the scale of {name}, such as 0.5.")
    elif proportion and abs(value) > 1:
        unit = "pp" if path[-1] == "at_most" else " %"
        fix = f"Write {written:g}{unit} or {value / 100:g}." if written == value else None
        draft.problems.add(path, f"{show_value(written)} is more than the whole of {name}", fix)


def _facts(draft: Draft, name: str) -> tuple[bool, bool | None]:
    """Whether bigger is better, and whether it is a proportion (None: unknown)."""
    metric = draft.recipe.metric
    if name == OWN_METRIC and isinstance(metric, FunctionMetric):
        return metric.better == "bigger", None
    return METRIC_FACTS[name].bigger_is_better, METRIC_FACTS[name].proportion


def _example(bigger: bool, proportion: bool | None) -> str:
    if not bigger:
        return "at_most: 0.5"
    return "{drop_vs: teacher, at_most: 1pp}" if proportion else "at_least: 0.5"


def _check_bound(draft: Draft, path: Path, gate: Any) -> None:
    """A budget that nothing can meet, or anything."""
    key = "at_least" if hasattr(gate, "at_least") else "at_most"
    place, bound = (*path, key), getattr(gate, key)
    if draft.problems.within(place):
        return
    if isinstance(gate, AgreementGate):
        _check_scale(draft, place, bound, "agreement", proportion=True)
    if bound <= 0:
        what = f"{show_value(draft.raw(*place))} is no budget"
        draft.problems.add(place, what, "Write a value above 0.")


def _check_reference(draft: Draft, path: Path, gate: Any) -> None:
    for key in ("drop_vs", "vs", "over"):
        role = getattr(gate, key, None)
        place = (*path, key) if draft.raw(*path, key) is not None else path
        if role is not None and not draft.given(role):
            what = f"the recipe has no {role}"
            other = "teacher" if role == "student" else "student"
            fix = f"Add {role}:, or compare with {key}: {other}."
            draft.problems.add(place, what, fix)
        elif key == "over" and role == "teacher" and _is_function(draft):
            what = "the teacher is a function, which no target runs"
            fix = "Compare with over: student, or give the teacher as onnx:."
            draft.problems.add(place, what, fix)


def _is_function(draft: Draft) -> bool:
    teacher = draft.recipe.teacher
    return teacher is not None and teacher.function is not None


def _check_batch(draft: Draft, path: Path, gate: Any) -> None:
    """A batch that the exported model or a target would refuse."""
    fixed = draft.recipe.export.batch
    if not isinstance(gate, (LatencyGate, ThroughputGate, SpeedupGate)) or load_of(gate) == OFFLINE:
        return
    if fixed != "dynamic":
        if gate.batch != fixed and not draft.problems.within((*path, "batch")):
            what = f"the exported model takes batches of {fixed} alone, not of {gate.batch}"
            fix = f"Write batch: {fixed}, or export: {{batch: dynamic}}."
            draft.problems.add((*path, "batch"), what, fix)
        return
    for place, target in draft.targets:
        largest = getattr(target.options, "max_batch", gate.batch)
        if target.verify == "here" and gate.batch > largest:
            what = f"{target.target} is built for batches of up to {largest}, not of {gate.batch}"
            fix = f"Write max_batch: {gate.batch} in {show_path(place)}."
            draft.problems.add((*path, "batch"), what, fix)


def _check_load(draft: Draft, path: Path, gate: Any) -> None:
    """A rate at which nothing comes, and a batch where the best one is searched for."""
    if isinstance(gate, LatencyGate) and gate.rate is not None and gate.rate <= 0:
        what = f"{show_value(draft.raw(*path, 'rate'))} is no rate"
        draft.problems.add((*path, "rate"), what, "Write a value above 0, such as 100/s.")
    offline = isinstance(gate, ThroughputGate) and gate.mode == "offline"
    if offline and draft.raw(*path, "batch") is not None:
        what = "offline, the batch size is searched for"
        draft.problems.add((*path, "batch"), what, "Leave batch out, or leave mode: offline out.")


def _check_times(draft: Draft) -> None:
    """Times of the measurement: they have a unit, and so no bound in their type."""
    measure = draft.recipe.measure
    for key, value in (("block", measure.block), ("time_limit", measure.time_limit)):
        if value <= 0:
            what = f"{show_value(draft.raw('measure', key))} is no time"
            draft.problems.add(("measure", key), what, "Write a value above 0.")
        elif key == "time_limit" and value < _SHORTEST_LIMIT_S:
            what = f"{show_value(draft.raw('measure', key))} is too short for an engine to load"
            draft.problems.add(("measure", key), what, "Write 1 s or more.")
    if measure.decide_within < 0:
        what = f"{show_value(draft.raw('measure', 'decide_within'))} is no time"
        draft.problems.add(("measure", "decide_within"), what, "Write 0 s or more.")


def _check_budget(draft: Draft) -> None:
    """What int8 may cost: in points of a proportion, else on the metric's own scale."""
    recipe, path = draft.recipe, ("quantize", "budget", "accuracy_drop")
    if recipe.quantize is None or draft.problems.within(path) or draft.problems.at(("metric",)):
        return
    metric = OWN_METRIC if isinstance(recipe.metric, FunctionMetric) else recipe.metric
    _, proportion = _facts(draft, metric)
    drop, written = recipe.quantize.budget.accuracy_drop, draft.raw(*path)
    example = "0.5pp" if proportion else "0.05"
    if drop is None:
        if not proportion:
            fix = (
                f"Write quantize: {{budget: {{accuracy_drop: {example}}}}}, on the metric's scale."
            )
            draft.problems.add(path, "missing: only proportions have a default", fix)
    elif proportion and not isinstance(written, str):
        what = f"{show_value(written)} has no unit"
        draft.problems.add(path, what, f"Write it as {example} (units: pp, %).")
    elif proportion is False and isinstance(written, str):
        what = f"{show_value(written)} is in points, and {metric} is not a proportion"
        draft.problems.add(path, what, f"Write a number on its scale, such as {example}.")
    elif drop < 0:
        what = f"{show_value(written)} is no budget"
        draft.problems.add(path, what, f"Write what int8 may cost, such as {example}.")
