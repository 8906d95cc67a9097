"""The steps from the ONNX models on: int8, what each file answers, each target's engines."""

from __future__ import annotations

from collections.abc import Mapping

from edgestill.compile.config import CompileStep
from edgestill.plan import Ref, Step, TargetPlan
from edgestill.planner.draft import TEACHERS, PlanDraft
from edgestill.quantize.config import QuantizeStep
from edgestill.recipe import TargetConfig
from edgestill.targets import TARGETS
from edgestill.verify.config import BASELINE, FLOAT, EvaluateStep

FP16_LIBRARIES = ("onnx", "onnxruntime")  # the float model is converted before it is compiled


def add_targets(draft: PlanDraft) -> tuple[TargetPlan, ...]:
    """Everything that the recipe's targets need; what was planned for each."""
    onnx = {FLOAT: "export student"}
    for scheme in _schemes(draft):
        onnx[scheme] = _quantize(draft, scheme)
    _evaluate_onnx(draft, onnx)
    return tuple(_target(draft, target, onnx) for target in draft.recipe.targets)


def _schemes(draft: PlanDraft) -> tuple[str, ...]:
    """The quantization schemes that the targets ask for."""
    wanted = [TARGETS[t.target].scheme for t in draft.recipe.targets if "int8" in t.precisions]
    return tuple(dict.fromkeys(wanted))


def _quantize(draft: PlanDraft, scheme: str) -> str:
    assert draft.recipe.quantize is not None
    return draft.add(
        Step(
            f"quantize {scheme}",
            "quantize",
            QuantizeStep(draft.recipe.quantize.samples, scheme),
            {
                "model": Ref("export student"),
                "calibration": Ref("data", "calibration", "inputs"),
            },
        )
    )


def _evaluate_onnx(draft: PlanDraft, onnx: Mapping[str, str]) -> None:
    """One step for every ONNX file, so that the runtime starts once."""
    candidates = {FLOAT: Ref(onnx[FLOAT])}
    candidates |= {scheme: Ref(step) for scheme, step in onnx.items() if scheme != FLOAT}
    if draft.has_baseline:
        candidates = {BASELINE: Ref("export teacher"), **candidates}
    # Of int8 that runs elsewhere, its ONNX model is all that its drop can be taken from; of int8
    # without a float engine beside it, the float ONNX model is all that it can be compared with.
    judged_by = any(
        "int8" in target.precisions
        and (target.verify == "elsewhere" or FLOAT not in target.precisions)
        for target in draft.recipe.targets
    )
    roles = ("validation", "test") if judged_by else ("test",)
    name = _evaluate(draft, "evaluate onnx", candidates, roles, "onnxruntime")
    if draft.has_baseline:
        teacher = Ref("export teacher")
        draft.hop("teacher onnx", Ref(name, f"{BASELINE}/test"), "teacher torch", model=teacher)
    student = Ref(onnx[FLOAT])
    draft.hop("student onnx", Ref(name, f"{FLOAT}/test"), "student torch", *TEACHERS, model=student)
    for scheme, step in onnx.items():
        if scheme != FLOAT:
            answers = Ref(name, f"{scheme}/test")
            draft.hop(f"int8 {scheme} onnx", answers, "student onnx", model=Ref(step))


def _evaluate(
    draft: PlanDraft,
    name: str,
    candidates: dict[str, Ref],
    roles: tuple[str, ...],
    target: str,
) -> str:
    datasets = {role: Ref("data", role, "inputs") for role in roles}
    return draft.add(
        Step(
            name,
            "evaluate",
            EvaluateStep(draft.recipe.threads),
            {"candidates": candidates, "datasets": datasets},
            libraries=(TARGETS[target].distribution,),
            modules=(TARGETS[target].implementation,),
            gpu=TARGETS[target].gpu,
        )
    )


def _target(draft: PlanDraft, target: TargetConfig, onnx: Mapping[str, str]) -> TargetPlan:
    spec = TARGETS[target.target]
    here = target.verify == "here"
    candidates = {}
    for precision in target.precisions:
        source = onnx[spec.scheme] if precision == "int8" else onnx[FLOAT]
        candidates[precision] = _compile(draft, target, precision, precision, source)
    baseline = None
    if here and draft.has_baseline:
        baseline = _compile(draft, target, BASELINE, FLOAT, "export teacher")
    hops = {
        precision: f"int8 {spec.scheme} onnx" if precision == "int8" else "student onnx"
        for precision in candidates
    }
    planned = TargetPlan(target, candidates, hops, baseline, None)
    if not here:
        return planned
    name = f"evaluate {target.target}"
    _evaluate(draft, name, planned.engines, ("validation", "test"), target.target)
    for precision, origin in hops.items():
        answers, engine = Ref(name, f"{precision}/test"), Ref(candidates[precision])
        draft.hop(f"{target.target} {precision}", answers, origin, model=engine)
    own = {precision: f"{target.target} {precision}" for precision in candidates}
    return TargetPlan(target, candidates, own, baseline, name)


def _compile(
    draft: PlanDraft, target: TargetConfig, label: str, precision: str, source: str
) -> str:
    spec = TARGETS[target.target]
    return draft.add(
        Step(
            f"compile {target.target} {label}",
            "compile",
            CompileStep(target.target, precision, target.options),
            {"model": Ref(source)},
            libraries=(spec.distribution, *(FP16_LIBRARIES if precision == "fp16" else ())),
            modules=(spec.implementation,),
            gpu=spec.for_gpu_here(target.options),
        )
    )
