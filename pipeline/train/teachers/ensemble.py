"""Several teachers that answer as one, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgestill.errors import ModelError
from edgestill.train.losses.base import Labels, Outputs
from edgestill.train.losses.logits import cross_entropies
from edgestill.train.losses.positions import is_binary
from edgestill.train.teachers.base import Teacher
from edgestill.train.views import Rows
from edgestill.train.voices import role_of

# Below this, float32 does not tell one entropy (in nats) from another.
_LEAST_ENTROPY = 1e-6


class Ensemble:
    """Teachers that are asked about the same view of the same samples.

    The prediction is the weighted mean of the members' logits, each centred over its classes: up to
    a factor, the geometric mean of their distributions, whatever temperature softens them (Hinton,
    Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 1). Logits of
    yes or no and values are averaged as they are. Features are those of each member, under its
    name. A lone voice is passed on as it is.

    Args:
        members: by name; all of them are asked.
        voices: how much each member's prediction counts, of those that have a say in it; the
            others are asked for their layers.
        weighing: a name in `WEIGHINGS`, by which each sample's answers get weights of their own.
    """

    def __init__(
        self,
        members: Mapping[str, Teacher],
        voices: Mapping[str, float],
        task: str,
        weighing: str | None = None,
    ) -> None:
        self.members = members
        self.voices = voices
        self.task = task
        self.weighing = weighing

    def view_of(self, epoch: int) -> int:
        # Of a recording the first views are there, of a live teacher every view.
        return min(member.view_of(epoch) for member in self.members.values())

    def answer(
        self, inputs: list[Tensor], rows: Rows, view: int, labels: Labels | None = None
    ) -> Outputs:
        """What they say together.

        Raises:
            ModelError: the voices predict different shapes, or labels cannot weigh them.
        """
        answers = {
            name: member.answer(inputs, rows, view, labels) for name, member in self.members.items()
        }
        features = {
            replace(tap, teacher=name): feature
            for name, answer in answers.items()
            for tap, feature in answer.features.items()
        }
        predictions = {name: answers[name].logits for name in self.voices}
        if not predictions:
            return Outputs(torch.empty(len(rows), 0, device=inputs[0].device), features)
        return Outputs(self._combined(predictions, labels), features)

    def require_unchanged(self) -> None:
        for member in self.members.values():
            member.require_unchanged()

    def _combined(self, predictions: Mapping[str, Tensor], labels: Labels | None) -> Tensor:
        first = next(iter(predictions.values()))
        if len(predictions) == 1:
            return first
        _require_alike(predictions)
        logits = torch.stack(list(predictions.values()))
        weights = self._weights(logits, labels)
        if self.task == "classification" and not is_binary(first, self.task):
            logits = logits - logits.mean(dim=2, keepdim=True)
        return (weights * logits).sum(0)

    def _weights(self, logits: Tensor, labels: Labels | None) -> Tensor:
        if self.weighing is None:
            given = torch.tensor(list(self.voices.values()), dtype=logits.dtype)
            shares = (given / given.sum()).to(logits.device)
            return shares.reshape(-1, *[1] * (logits.ndim - 1))
        try:
            return WEIGHINGS[self.weighing](logits, labels, self.task)
        except (RuntimeError, IndexError, ValueError) as error:
            known = f"labels {list(labels.own.shape)}" if labels else "no labels"
            raise ModelError(
                f"{self.weighing} cannot weigh the teachers' predictions {list(logits[0].shape)} "
                f"with {known} ({error})",
                where="distill.teachers",
                fix="Look at the models' outputs, the task and the labels",
            ) from error


def _require_alike(predictions: Mapping[str, Tensor]) -> None:
    (first, one), *others = predictions.items()
    for name, other in others:
        if one.shape != other.shape:
            raise ModelError(
                f"the {role_of(first)} predicts {list(one.shape[1:])} values per sample, the "
                f"{role_of(name)} {list(other.shape[1:])}",
                where=role_of(name),
                fix="Give all teachers a prediction of one shape, or name the outputs that match "
                "with output:",
            )


def by_confidence(logits: Tensor, labels: Labels | None, task: str) -> Tensor:
    """Inverse to the entropy of each prediction: who is sure counts more.

    (After Kwon, Na, Lee and Kim, "Adaptive Knowledge Distillation Based on Entropy", ICASSP 2020;
    where the code of `by_loss`'s paper compares itself with it, it has `1 - h / sum(h)`.)

    Args:
        logits: of each teacher, `[k, b, c, ...]`; of yes and no `[k, b]` or `[k, b, n, ...]`.

    Returns:
        Weights that add up to 1 over the teachers, one for each sample or position, in a shape that
        multiplies the logits: `[k, b, 1, ...]` or `[k, b]`.
    """
    del labels
    inverse = torch.stack([1 / _entropy(one, task).clamp(min=_LEAST_ENTROPY) for one in logits])
    return inverse / inverse.sum(0)


def by_loss(logits: Tensor, labels: Labels | None, task: str) -> Tensor:
    """`(1 - softmax(l)) / (k - 1)`, `l` being each teacher's cross-entropy with the label: who is
    wrong counts less. Without a label all count alike.

    (Zhang, Chen and Wang, "Confidence-Aware Multi-Teacher Knowledge Distillation", ICASSP 2022.)
    Of several labels the cross-entropies are summed, of mixed samples each label counts by its
    share. Arguments and result are those of `by_confidence`.
    """
    count = len(logits)
    if labels is None:
        return logits.new_full((count, *[1] * (logits.ndim - 1)), 1 / count)
    terms = [cross_entropies(one, labels, task)[0] for one in logits]
    losses = torch.stack([_of_sample(term, logits[0], task) for term in terms])
    return (1 - losses.softmax(dim=0)) / (count - 1)


def _entropy(logits: Tensor, task: str) -> Tensor:
    """In nats, of each sample or position; of several labels the sum."""
    if is_binary(logits, task):
        yes, no = (torch.special.entr(one.sigmoid()) for one in (logits, -logits))
        return _of_sample(yes + no, logits, task)
    total: Tensor = torch.special.entr(logits.softmax(dim=1)).sum(1, keepdim=True)
    return total


def _of_sample(terms: Tensor, logits: Tensor, task: str) -> Tensor:
    """What `[b, ...]` numbers say of a sample or position, in a shape that multiplies `logits`."""
    if not is_binary(logits, task):
        return terms.unsqueeze(1)
    return terms if terms.ndim == 1 else terms.sum(1, keepdim=True)


# What `distill.teachers` may name: from logits of all teachers, labels and task to weights.
WEIGHINGS: Mapping[str, Callable[[Tensor, Labels | None, str], Tensor]] = {
    "confidence": by_confidence,
    "loss": by_loss,
}
