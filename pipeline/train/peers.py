"""Models that learn beside the one that is trained, and are not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray

from edgestill.models.wrapper import DeviceModel
from edgestill.train.losses.base import Loss
from edgestill.train.predict import Arrays, predict

# The task's metric on outputs and labels.
Score = Callable[[Sequence[NDArray[numpy.float32]], NDArray[numpy.generic] | None], float]


@dataclass(frozen=True)
class Peer:
    """A model that learns from the others' predictions as they do from its own.

    Attributes:
        losses: its own, which read no layers.
        score: of its outputs.
    """

    model: DeviceModel
    losses: Sequence[Loss]
    score: Score


def peer_name(number: int) -> str:
    """What logs and messages call a peer, counted from 1."""
    return f"peer {number}"


def peer_scores(
    peers: Sequence[Peer],
    inputs: Arrays,
    labels: NDArray[numpy.generic] | None,
    device: torch.device,
) -> dict[str, float]:
    """How well each peer does on the validation split."""
    return {
        f"{peer_name(number)} validation": float(
            peer.score(predict(peer.model, inputs, device), labels)
        )
        for number, peer in enumerate(peers, 1)
    }
