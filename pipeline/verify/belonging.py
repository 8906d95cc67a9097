"""Whether an evaluation set belongs to the model that is to be judged by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy

from edgestill.artifact import Dataset, Predictions, Signature
from edgestill.data.arrays import IDS_FILE, load_labels
from edgestill.errors import DataError
from edgestill.reference import describe


def require_belonging(
    samples: Dataset, signature: Signature, references: Mapping[str, Predictions]
) -> None:
    """Look at names, types, shapes, counts and classes, before any runtime is asked.

    Raises:
        DataError: the samples are not what the model takes, their labels are none of its classes,
            or they are not as many as the references were asked.
    """
    described = samples.description
    given = {spec.name: spec for spec in described.inputs}
    for wanted in signature.inputs:
        spec = given.get(wanted.name)
        # The batch is for whoever feeds the samples to choose.
        if spec is None or (spec.dtype, spec.shape[1:]) != (wanted.dtype, wanted.shape[1:]):
            found = ", ".join(map(str, given.values()))
            raise _foreign(samples, f"it has {found}, and the model takes {wanted}")
    files = {spec.name: samples.input_path(spec.name) for spec in described.inputs}
    files |= {"labels": samples.labels_path, "hashes": samples.path / IDS_FILE}
    counts = {name: _rows(samples, path) for name, path in files.items()}
    for name, predictions in references.items():
        counts[f"answers of the {name}"] = predictions.description.count
    wrong = [f"{count} {name}" for name, count in counts.items() if count != described.count]
    if wrong:
        raise _foreign(samples, f"it has {described.count} samples, and {', '.join(wrong)}")
    _require_classes(samples, signature)


def _require_classes(samples: Dataset, signature: Signature) -> None:
    labels = load_labels(samples)
    answer = next(spec for spec in signature.outputs if spec.name == signature.prediction)
    if samples.description.task != "classification" or labels is None or len(answer.shape) < 2:
        return
    classes, largest = answer.shape[1], int(labels.max())
    if classes is not None and largest >= max(classes, 2):
        raise _foreign(samples, f"it has the label {largest}, and the model has {classes} classes")


def _rows(samples: Dataset, path: Path) -> int:
    try:
        return len(numpy.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise _foreign(samples, f"{path.name} cannot be read ({describe(error)})") from error


def _foreign(samples: Dataset, why: str) -> DataError:
    return DataError(
        f"the evaluation set does not belong to the model: {why}",
        where=str(samples.path),
        fix="Build the release again, with samples of the data that the model was made for",
    )
