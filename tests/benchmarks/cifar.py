"""CIFAR-10 with the residual networks that a user would bring: what the benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SHARED = Path(__file__).parents[3] / "shared"
MODELS = SHARED / "models" / "cifar_resnet.py"
RGB = {"range": 255, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
GIVEN_TEACHER: Mapping[str, Any] = {
    "model": f"{MODELS}:teacher",
    "weights": str(MODELS.with_name("cifar_resnet_teacher.safetensors")),
    "normalize": RGB,
}


def require_data() -> None:
    """End with what is missing, and where it is looked for."""
    files = [SHARED / "data" / "cifar10" / f"{split}.parquet" for split in ("train", "test")]
    missing = [str(file) for file in (*files, MODELS) if not file.is_file()]
    if missing:
        raise SystemExit(f"this benchmark needs CIFAR-10 and its models; missing: {missing}")


def write_recipe(
    folder: Path, name: str, sections: Mapping[str, Any], *, limit: int | None, seed: int = 0
) -> Path:
    """A recipe on CIFAR-10 in `folder`, with the teacher that came trained."""
    data = SHARED / "data" / "cifar10"
    recipe = {
        "name": name,
        "seed": seed,
        "threads": 2,
        "data": {
            "source": {split: f"{data}/{split}.parquet" for split in ("train", "test")},
            # Of its own, so that trainings with other seeds see one split and one recording.
            "split": {"calibration": 0.02, "validation": 0.1, "seed": 0},
            **({"limit": limit} if limit else {}),
        },
        "teacher": dict(GIVEN_TEACHER),
        "student": {"model": f"{MODELS}:student", "normalize": RGB},
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path
