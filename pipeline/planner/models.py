"""The steps up to the ONNX models: data, check, and for each model weights, answers and export."""

from __future__ import annotations

from pathlib import Path

from edgestill.data.config import SplitStep, source_code, source_files, source_libraries
from edgestill.distill.config import CacheConfig, DistillConfig, DistillStep, RecordStep
from edgestill.export.config import AdoptStep, CheckStep, ExportStep
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref, Step
from edgestill.planner.draft import PlanDraft, model_config, without_weights
from edgestill.train.config import AskStep, AugmentConfig, LoadStep, TrainStep
from edgestill.train.losses import default_losses, modules_of
from edgestill.train.losses.config import reads_of

# What a student is compared with, where the recipe has it.
TEACHERS = ("teacher torch", "teacher onnx")


def add_data(draft: PlanDraft) -> None:
    """The step that reads and splits the samples."""
    recipe = draft.recipe
    seed = recipe.seed if recipe.data.split.seed is None else recipe.data.split.seed
    draft.add(
        Step(
            "data",
            "split",
            SplitStep(recipe.data, recipe.task, seed),
            code=source_code(recipe.data, recipe.base),
            files=source_files(recipe.data, recipe.base),
            libraries=source_libraries(recipe.data, recipe.base),
        )
    )


def add_check(draft: PlanDraft) -> None:
    """The step that tries models, losses and exporter before any training."""
    recipe = draft.recipe
    models = {"teacher": recipe.teacher, "student": recipe.student}
    built = {role: model_config(m) for role, m in models.items() if m and m.model}
    if not built:
        return
    peers = _peers(draft)
    config = CheckStep(
        teacher=built.get("teacher"),
        student=built.get("student"),
        losses=recipe.distill.losses if recipe.distill else (),
        export=recipe.export,
        task=recipe.task,
        seed=recipe.seed,
        trained=_trained(draft),
        distilled=recipe.distill is not None,
        augment=_augment(draft),
        top_k=recipe.distill.cache.top_k if recipe.distill and recipe.distill.cache else None,
        learn_from=recipe.distill.learn_from if recipe.distill else "teacher",
        peers=peers,
    )
    asked = {"teacher": draft.answering} if draft.black_box and draft.taught else {}
    draft.add(
        Step(
            "check",
            "check",
            config,
            {"train": Ref("data", "train"), **asked},
            code=draft.code(*built.values(), *peers),
            files=draft.files(*built.values(), *peers),
            modules=_loss_modules(draft),
        )
    )


def add_model(draft: PlanDraft, role: str) -> None:
    """The steps that give a role's weights, its PyTorch answers and its ONNX model."""
    recipe = draft.recipe
    entry = recipe.teacher if role == "teacher" else recipe.student
    assert entry is not None
    model = model_config(entry)
    test = Ref("data", "test", "inputs")
    calibration = Ref("data", "calibration", "inputs")
    if model.onnx is not None:
        draft.add(
            Step(
                f"export {role}",
                "adopt",
                AdoptStep(model),
                {"samples": Ref("data", "calibration")},  # with the names of the classes
                files=_onnx_files(draft, model),
            )
        )
        return
    _weights(draft, role, model)
    model = without_weights(model)
    code, files, checkpoint = draft.code(model), draft.files(model), Ref(role)
    draft.add(
        Step(
            f"ask {role}",
            "ask",
            AskStep(model, recipe.task, recipe.threads),
            {"checkpoint": checkpoint, "dataset": test},
            code,
            files,
        )
    )
    draft.hop(f"{role} torch", Ref(f"ask {role}"), *(TEACHERS if role == "student" else ()))
    draft.add(
        Step(
            f"export {role}",
            "export",
            ExportStep(model, recipe.export, recipe.task),
            {"checkpoint": checkpoint, "samples": calibration},
            code,
            files,
        )
    )


def _weights(draft: PlanDraft, role: str, model: ModelConfig) -> None:
    recipe = draft.recipe
    splits = {"train": Ref("data", "train"), "validation": Ref("data", "validation")}
    entry = recipe.teacher if role == "teacher" else recipe.student
    assert entry is not None
    code, files, after = draft.code(model), draft.files(model), ("check",)
    common = (recipe.task, recipe.metric, recipe.seed, recipe.threads)
    if role == "student" and recipe.distill is not None:
        teacher = None
        if draft.taught and recipe.teacher is not None and not draft.black_box:
            teacher = without_weights(model_config(recipe.teacher))
        recording = _recording(draft, teacher, recipe.distill)
        asked = {"teacher": draft.answering} if draft.taught else {}
        built = (model, teacher, *_peers(draft))
        draft.add(
            Step(
                role,
                "distill",
                DistillStep(model, teacher, recipe.distill, *common),
                {**asked, **splits, **recording},
                (*draft.code(*built), *draft.metric_code()),
                draft.files(*built),
                ("accelerate", *draft.asked_in),
                after,
                _loss_modules(draft),
            )
        )
    elif entry.train is not None:
        config = TrainStep(model, entry.train, *common)
        code = (*code, *draft.metric_code())
        libraries = ("accelerate",)
        modules = modules_of(default_losses(recipe.task, teacher=False))
        start = {"teacher": Ref("teacher")} if model.from_ else {}
        inputs = {**start, **splits}
        draft.add(Step(role, "train", config, inputs, code, files, libraries, after, modules))
    else:
        load = LoadStep(model, recipe.task, recipe.seed)
        shown = {"train": Ref("data", "train", "inputs")}
        draft.add(Step(role, "load", load, shown, code, files, after=after))


def _recording(
    draft: PlanDraft, teacher: ModelConfig | None, distill: DistillConfig
) -> dict[str, Ref]:
    """The step that keeps the teacher's answers, where they are to be kept."""
    recipe = draft.recipe
    losses = distill.losses or default_losses(recipe.task, teacher=True)
    reads = [reads_of(loss) for loss in losses]
    config = RecordStep(
        teacher=teacher,
        augment=distill.augment,
        cache=distill.cache or CacheConfig(),
        prediction=any(loss.prediction for loss in reads),
        layers=tuple(dict.fromkeys(tap for loss in reads for tap in loss.teacher)),
        task=recipe.task,
        threads=recipe.threads,
    )
    if distill.cache is None or not (config.prediction or config.layers):
        return {}
    train = Ref("data", "train", "inputs")
    name = draft.add(
        Step(
            "record teacher",
            "record",
            config,
            {"teacher": draft.answering, "train": train},
            draft.code(teacher),
            draft.files(teacher),
            draft.asked_in,
            after=("check",),
        )
    )
    return {"recording": Ref(name)}


def _peers(draft: PlanDraft) -> tuple[ModelConfig, ...]:
    """Who learns beside the student."""
    distill = draft.recipe.distill
    return tuple(peer.as_model for peer in distill.peers) if distill else ()


def _loss_modules(draft: PlanDraft) -> tuple[str, ...]:
    """What computes the losses of this recipe's trainings."""
    recipe = draft.recipe
    chosen = recipe.distill.losses if recipe.distill else ()
    return modules_of((*default_losses(recipe.task, teacher=True), *chosen))


def _trained(draft: PlanDraft) -> tuple[str, ...]:
    """The roles that learn here."""
    recipe = draft.recipe
    learns = {
        "teacher": recipe.teacher is not None and recipe.teacher.train is not None,
        "student": recipe.distill is not None
        or (recipe.student is not None and recipe.student.train is not None),
    }
    return tuple(role for role, does in learns.items() if does)


def _augment(draft: PlanDraft) -> tuple[AugmentConfig, ...]:
    recipe = draft.recipe
    models = (recipe.teacher, recipe.student)
    trainings = (recipe.distill, *(model.train for model in models if model))
    found = (training.augment for training in trainings if training)
    return tuple(dict.fromkeys(augment for augment in found if augment))


def _onnx_files(draft: PlanDraft, model: ModelConfig) -> tuple[Path, ...]:
    """The file, and those with its weights: named after it, or declared."""
    assert model.onnx is not None
    file = draft.recipe.base / model.onnx
    beside = [found for found in file.parent.iterdir() if found.name.startswith(file.name)]
    return tuple(sorted({*beside, *draft.files(model)}))
