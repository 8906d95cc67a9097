"""Which samples go where: decided by a hash of each sample alone.

An edited, relabelled or added sample moves no other, and equal samples never part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy
from numpy.typing import NDArray

from edgestill.data.raw import Array, chunks
from edgestill.digest import canonical_json

Hashes = NDArray[numpy.uint64]
Rows = NDArray[numpy.int64]


@dataclass(frozen=True)
class SampleHashes:
    """Two independent uniform hashes of each sample, `[n] uint64`.

    Attributes:
        role: decides the split and the order inside it.
        limit: decides which samples stay under `data.limit`, so that it favours no role.
    """

    role: Hashes
    limit: Hashes


def hash_samples(inputs: Mapping[str, Array], seed: int) -> SampleHashes:
    """The hash of seed and each sample's types, shapes and bytes; labels do not count."""
    arrays = [inputs[name] for name in sorted(inputs)]
    # Formats differ between machines in byte order only.
    arrays = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays]
    layout = [[array.dtype.str, list(array.shape[1:])] for array in arrays]
    start = blake2b(canonical_json([seed, layout]).encode(), digest_size=16)
    digests: list[bytes] = []
    for rows in chunks(max(arrays, key=lambda array: array.nbytes)):
        pieces = [_row_bytes(array[rows]) for array in arrays]
        for sample in zip(*pieces, strict=True):
            state = start.copy()
            for part in sample:
                state.update(part.data)
            digests.append(state.digest())
    both = numpy.frombuffer(b"".join(digests), ">u8").astype(numpy.uint64).reshape(-1, 2)
    return SampleHashes(both[:, 0].copy(), both[:, 1].copy())


def _row_bytes(array: Array) -> NDArray[numpy.uint8]:
    """The bytes of each row, `[n, bytes]`."""
    return numpy.ascontiguousarray(array).reshape(len(array), -1).view(numpy.uint8)


def limited(hashes: Hashes, limit: int | None) -> Rows:
    """The rows with the so-many lowest hashes, in the source's order."""
    if limit is None or limit >= len(hashes):
        return numpy.arange(len(hashes))
    return numpy.sort(numpy.argsort(hashes, kind="stable")[:limit])


def assigned(hashes: Hashes, shares: Mapping[str, float]) -> dict[str, Rows]:
    """The rows of each role, ordered by hash and then as in the source.

    The hash as a fraction of 2^64 falls into one of the intervals that the shares cut from [0, 1),
    in their order; what lies beyond them has no role.
    """
    ends = numpy.round(numpy.cumsum(list(shares.values())), 12)
    thresholds = numpy.array([int(end * 2**64) for end in ends if end < 1], numpy.uint64)
    interval = numpy.searchsorted(thresholds, hashes, side="right")
    order = numpy.argsort(hashes, kind="stable")
    return {role: order[interval[order] == index] for index, role in enumerate(shares)}
