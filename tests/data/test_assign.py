"""Hashes of samples, and the roles they decide."""

from hashlib import blake2b

import numpy
from hypothesis import given
from hypothesis import strategies as st

from edgestill.data import raw
from edgestill.data.assign import assigned, hash_samples, limited

SHARES = {"test": 0.4, "validation": 0.1, "calibration": 0.1, "train": 0.4}


def samples(count, seed=0):
    return numpy.random.default_rng(seed).integers(0, 256, (count, 12), numpy.uint8)


def test_the_hash_is_what_it_was():
    """Another hash would move every sample of every user."""
    hashes = hash_samples({"x": numpy.arange(4, dtype=numpy.uint8).reshape(2, 2)}, seed=7)
    for row, sample in enumerate([b"\x00\x01", b"\x02\x03"]):
        digest = blake2b(b'[7,[["|u1",[2]]]]' + sample, digest_size=16).digest()
        assert int(hashes.role[row]) == int.from_bytes(digest[:8], "big")
        assert int(hashes.limit[row]) == int.from_bytes(digest[8:], "big")


@given(st.integers(0, 99), st.integers(0, 11))
def test_an_edit_moves_nobody_else(row, column):
    images = samples(100)
    before = hash_samples({"x": images}, 0)
    images[row, column] ^= 1
    after = hash_samples({"x": images}, 0)
    same = before.role == after.role
    assert numpy.flatnonzero(~same).tolist() == [row]


def test_seed_type_shape_and_every_input_count_and_the_order_of_inputs_does_not():
    images = samples(10)
    mask = samples(10, 1)
    base = hash_samples({"x": images}, 0).role
    others = [
        hash_samples({"x": images}, 1),
        hash_samples({"x": images.view(numpy.int8)}, 0),
        hash_samples({"x": images.reshape(10, 3, 4)}, 0),
        hash_samples({"x": images, "y": mask}, 0),
    ]
    for other in others:
        assert not (other.role == base).any()
    swapped = hash_samples({"y": mask, "x": images}, 0)
    assert (swapped.role == others[3].role).all()


def test_pieces_and_memory_order_do_not_matter(monkeypatch):
    images = samples(100)
    whole = hash_samples({"x": images, "y": images[:, :3]}, 0).role
    monkeypatch.setattr(raw, "CHUNK_BYTES", 100)
    pieces = hash_samples({"x": numpy.asfortranarray(images), "y": images[:, :3]}, 0).role
    assert (whole == pieces).all()


def test_byte_order_does_not_matter():
    numbers = samples(10).astype("<f4")
    assert (
        hash_samples({"x": numbers}, 0).role == hash_samples({"x": numbers.astype(">f4")}, 0).role
    ).all()


def test_equal_samples_stay_together_in_the_order_of_the_source():
    images = samples(50)
    roles = assigned(hash_samples({"x": numpy.concatenate([images, images])}, 0).role, SHARES)
    for rows in roles.values():
        first = rows[rows < 50].tolist()
        assert (rows[rows >= 50] - 50).tolist() == first


def test_shares_are_expectations():
    hashes = hash_samples({"x": samples(20_000)}, 0).role
    roles = assigned(hashes, SHARES)
    assert sum(map(len, roles.values())) == 20_000
    for role, share in SHARES.items():
        # Five standard deviations of a binomial count.
        assert abs(len(roles[role]) - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5
    for rows in roles.values():
        assert (numpy.diff(hashes[rows].astype(float)) >= 0).all()


def test_another_share_of_calibration_leaves_test_and_validation_alone():
    hashes = hash_samples({"x": samples(500)}, 0).role
    wider = SHARES | {"calibration": 0.2, "train": 0.3}
    before, after = assigned(hashes, SHARES), assigned(hashes, wider)
    for role in ("test", "validation"):
        assert before[role].tolist() == after[role].tolist()


def test_what_lies_beyond_the_shares_has_no_role():
    hashes = hash_samples({"x": samples(1000)}, 0).role
    roles = assigned(hashes, {"test": 0.25, "train": 0.25})
    assert 400 < sum(map(len, roles.values())) < 600


def test_a_limit_favours_no_role():
    hashes = hash_samples({"x": samples(20_000)}, 0)
    kept = limited(hashes.limit, 5000)
    assert len(kept) == 5000
    assert len(limited(hashes.limit, 30_000)) == 20_000
    share = len(assigned(hashes.role[kept], SHARES)["test"]) / 5000
    assert abs(share - 0.4) < 0.035
    assert set(limited(hashes.limit, 100)) <= set(kept)
