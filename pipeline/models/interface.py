"""What a recipe's settings mean for a model's inputs and outputs, whether PyTorch or ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from edgestill.artifact import DatasetDescription, TensorSpec
from edgestill.errors import ModelError
from edgestill.models.config import NormalizeConfig
from edgestill.quantities import count_text
from edgestill.spelling import nearest

Float32 = NDArray[numpy.float32]


def normalized_input(normalize: NormalizeConfig | None, inputs: Sequence[TensorSpec]) -> str | None:
    """The name of the input that is normalised; None where none is.

    Raises:
        ModelError: there are several, or not the one that is named.
    """
    if normalize is None:
        return None
    names = [spec.name for spec in inputs]
    if normalize.input is None:
        if len(names) == 1:
            return names[0]
        raise ModelError(
            f"normalize does not say which of the inputs it is for: {', '.join(names)}",
            fix=f"Add normalize.input: {' or '.join(names)}",
        )
    if normalize.input not in names:
        raise ModelError(
            f"normalize.input is {normalize.input!r}, which is no input",
            fix=nearest(normalize.input, names, "Inputs"),
        )
    return normalize.input


def scale_and_shift(normalize: NormalizeConfig, spec: TensorSpec) -> tuple[Float32, Float32]:
    """`(x / range - mean) / std` as `x * scale + shift`: two operations on the device, not three.

    Both are `[k, 1, ...]` or `[k]`, k being the channels, or scalars.

    Raises:
        ModelError: the input has another number of channels.
    """
    mean, std = numpy.array(normalize.mean), numpy.array(normalize.std)
    channels = max(len(mean), len(std))
    if not {len(mean), len(std)} <= {1, channels}:
        raise ModelError(
            f"normalize.mean has {len(mean)} values, normalize.std {len(std)}",
            fix="Give one value, or one per channel, for both",
        )
    shape: tuple[int, ...] = ()
    sample = spec.shape[1:]
    if channels > 1 and sample and sample[0] == channels:
        shape = (channels, *[1] * (len(sample) - 1))
    elif channels > 1 and sample and sample[-1] == channels:
        shape = (channels,)
    elif channels > 1:
        raise ModelError(
            f"normalize has {channels} channels, the input is {spec}",
            fix="Give one value, or as many as the input has channels (first or last axis)",
        )
    scale = numpy.broadcast_to(1 / (normalize.range * std), channels)
    shift = numpy.broadcast_to(-mean / std, channels)
    return (
        scale.astype(numpy.float32).reshape(shape),
        shift.astype(numpy.float32).reshape(shape),
    )


def prediction_name(names: Sequence[str], output: str | None) -> str:
    """The output that metrics read.

    Raises:
        ModelError: `output` is none of them, or it is left out and could be several.
    """
    if output is not None:
        if output not in names:
            raise ModelError(
                f"output: {output!r} is not among the model's outputs",
                fix=nearest(output, list(names), "Outputs"),
            )
        return output
    if len(names) == 1:
        return names[0]
    for usual in ("logits", "output"):
        if usual in names:
            return usual
    raise ModelError(
        f"the model has several outputs: {', '.join(names)}",
        fix=f"Say which one metrics read, such as output: {names[0]}",
    )


def require_positions(prediction: Sequence[int]) -> None:
    """Refuse to move the classes of a prediction `[...]` for one sample that has nothing else.

    Raises:
        ModelError: it has no axis beside the classes.
    """
    if len(prediction) < 2:
        raise ModelError(
            f"classes: last is for models that classify each position, and it predicts "
            f"{list(prediction)} a sample",
            fix="Leave classes out",
        )


def require_classes(
    prediction: Sequence[int],
    dataset: DatasetDescription,
    labels: Sequence[int] | None = None,
    axis: str | None = None,
) -> None:
    """Refuse a prediction `[...]` for one sample that cannot name all classes of the data.

    Args:
        labels: the shape of a sample's, where there are some.
        axis: which one the recipe says that the classes are; they are the first one by now.

    Raises:
        ModelError: it has fewer values than there are classes (one value tells two classes), by
            the positions that have labels its classes are the last axis, or may be, or its
            positions are not those that have labels.
    """
    if axis is None and labels and dataset.task == "classification":
        _require_class_axis(prediction, labels)
    classes = len(dataset.class_names)
    outputs = prediction[0] if prediction else 1
    binary = dataset.task == "classification" and outputs == 1
    if dataset.task in ("classification", "multilabel") and classes > (2 if binary else outputs):
        found = f"it predicts {count_text(outputs, 'class', 'classes')}"
        fix = "Give the model as many outputs as the data has classes, or correct the labels"
        if len(prediction) > 1:
            found += f" (the first axis of {list(prediction)})"
            if classes in prediction:
                fix = f"Return [batch, {classes}], or the classes as the first axis after the batch"
        raise ModelError(f"{found}, the labels have {classes}", fix=fix)
    if labels is not None and dataset.task == "classification":
        _require_labelled_positions(prediction, labels)


def _require_class_axis(prediction: Sequence[int], labels: Sequence[int]) -> None:
    if tuple(prediction[:-1]) != tuple(labels):
        return
    found = f"it predicts {list(prediction)} a sample, and labels are {list(labels)}"
    if tuple(prediction[1:]) == tuple(labels):
        raise ModelError(
            f"{found}: its classes may be the first axis or the last",
            fix="Say which with classes: first or classes: last",
        )
    raise ModelError(
        f"{found}: its classes are the last axis",
        fix="Add classes: last, which makes them the first of the exported model",
    )


def _require_labelled_positions(prediction: Sequence[int], labels: Sequence[int]) -> None:
    if tuple(prediction[1:]) == tuple(labels):
        return
    axes = ", ".join(["batch", "classes", *map(str, labels)])
    have = f"and labels are {list(labels)}" if labels else "which has one label"
    fix = f"Return [{axes}] for these labels"
    if len(labels) == 1 and tuple(prediction) == tuple(labels):
        fix = "Set task: multilabel for columns of 0 and 1, or take argmax(1) of one-hot labels"
    raise ModelError(f"it predicts {list(prediction)} a sample, {have}", fix=fix)
