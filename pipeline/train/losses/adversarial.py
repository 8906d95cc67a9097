"""The adversarial loss, and the network that it plays against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from edgestill.train.adapters import Adapter, channels_last
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.losses.config import AdversarialLoss, reads_of
from edgestill.train.voices import role_of

# How far apart two outputs are judged at most that lie one deviation of the teacher's apart. The
# margins of `hinge` are 2 apart: with less it stays unsure, with much more students collapse.
_REACH = 2.0

# Of more positions than this a random choice is judged at each look: the rest says little more.
_MOST_ROWS = 4096


class Adversarial(Loss):
    """The student's part of a game: its outputs should pass for the teacher's.

    A discriminator sees the prediction `[b, ...]` of both, or positions of a feature
    `[b, c, ...]` of both, and learns to tell them apart: after each step of the student it makes
    one of its own, on detached outputs, with its own Adam. `hinge` is
    `E max(0, 1 - D(t)) + E max(0, 1 + D(s))` for the discriminator and `-E D(s)` for the student
    (Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
    equations 16 and 17), `bce` the non-saturating pair of Goodfellow et al., 2014. It asks for the
    teacher's distribution of outputs, not for its answer to each sample (Xu et al., "Training
    Shallow and Thin Networks ... with Conditional Adversarial Networks", 2018): use it beside
    `kd`, at a low weight that ramps up, when `kd` alone has levelled off.
    """

    def __init__(self, config: AdversarialLoss, task: str) -> None:
        del task
        name = f"adversarial {config.student}" if config.student else "adversarial"
        super().__init__(name, config.weight, reads_of(config))
        self.config = config
        self.adapter: Adapter | None = None
        self.discriminator: Discriminator
        self.told_apart: Tensor | None = None

    def adapt(self, example: LossInputs) -> str | None:
        words = None
        if self.reads.teacher:
            student, teacher = self._features(example)
            role = role_of(self.reads.teacher[0].teacher)
            self.adapter = Adapter(student, teacher, role).to(student.device)
            words = self.adapter.words
        real = _some_rows(self._judged(example)[1], lambda: 0)
        self.discriminator = Discriminator(real, self.config.width).to(real.device)
        # The student's optimizer must not find these parameters, nor a gradient reach them.
        self.discriminator.requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=self.config.learning_rate, betas=(0.5, 0.999)
        )
        judged = f"a discriminator of {real.shape[1]} values"
        return f"{self.name}: {judged}" + (f"; {words}" if words else "")

    def forward(self, inputs: LossInputs) -> Tensor:
        student, _ = self._judged(inputs)
        self.discriminator.eval()  # in train mode spectral norm changes with each look
        verdict: Tensor = self.discriminator(_some_rows(student, self._looks))
        if self.config.form == "hinge":
            return -verdict.mean()
        return functional.softplus(-verdict).mean()

    def after_step(self, inputs: LossInputs) -> None:
        # Each process makes the step on what all have, and so the same one.
        student, teacher = (
            _some_rows(inputs.gather(part.detach()), self._looks) for part in self._judged(inputs)
        )
        assert self.optimizer is not None, "adapt() comes before the first step"
        self.discriminator.requires_grad_(True).train()
        self.discriminator.look(teacher)
        fake, real = self.discriminator(torch.cat([student, teacher])).chunk(2)
        if self.config.form == "hinge":
            loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        else:
            loss = functional.softplus(-real).mean() + functional.softplus(fake).mean()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()  # else they count when the student's gradients are clipped
        self.discriminator.requires_grad_(False)
        told = (real > 0).float().mean() + (fake < 0).float().mean()
        self.told_apart = told.detach() / 2

    def readings(self) -> Mapping[str, Tensor]:
        """`accuracy`: the share that the discriminator told apart, 0.5 for guessing."""
        return {} if self.told_apart is None else {f"{self.name} accuracy": self.told_apart}

    def _looks(self) -> int:
        """How many steps the discriminator has made, in all processes alike."""
        return int(self.discriminator.seen)

    def _judged(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Student's and teacher's, both `[b, c]` or `[b, positions, c]`."""
        if self.adapter is None:
            student, teacher = self.pair(inputs)
            return student.flatten(1), teacher.flatten(1)
        judged: tuple[Tensor, Tensor] = self.adapter(*self._features(inputs))
        return judged

    def _features(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        student, teacher = self.pair(inputs)
        return channels_last(student), channels_last(teacher)


def _some_rows(judged: Tensor, choice: Callable[[], int]) -> Tensor:
    """`[b, c]` or `[b, positions, c]` as `[n, c]`: of many rows a choice, the same everywhere.

    Args:
        choice: its number, for which a GPU may have to be waited for.
    """
    rows = judged.reshape(-1, judged.shape[-1])
    if len(rows) <= _MOST_ROWS:
        return rows
    generator = torch.Generator().manual_seed(choice())
    return rows[torch.randperm(len(rows), generator=generator)[:_MOST_ROWS].to(rows.device)]


class Discriminator(nn.Module):
    """`[n, c]` to `[n, 1]`: above 0 for the teacher's, below for the student's.

    Spectral norm bounds how fast it changes, so outputs are taken in units of the teacher's: their
    running mean and one deviation for all values, because a value may be constant.

    Args:
        example: of the teacher's, `[n, c]`.
    """

    seen: Tensor
    centre: Tensor
    power: Tensor

    def __init__(self, example: Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centre", example.mean(0))
        self.register_buffer("power", example.var(0, correction=0).mean())
        self.layers = nn.Sequential(
            spectral_norm(nn.Linear(example.shape[1], hidden)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(hidden, hidden)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(hidden, 1)),
        )

    def look(self, teacher: Tensor) -> None:
        """Learn the scale of the teacher's outputs, `[n, c]`: the mean of batches, later of 100."""
        self.seen += 1
        share = (1 / self.seen).clamp(min=0.01)
        self.centre.lerp_(teacher.mean(0), share)
        self.power.lerp_((teacher - self.centre).pow(2).mean(), share)

    def forward(self, rows: Tensor) -> Tensor:
        units = (rows - self.centre) / self.power.clamp(min=1e-12).sqrt()
        verdict: Tensor = self.layers(_REACH * units)
        return verdict
