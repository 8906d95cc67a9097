"""The split stage: from sources to four datasets, and what it says or refuses on the way."""

import numpy
import pytest

from edgestill.artifact import Dataset, TensorSpec
from edgestill.data.arrays import load_ids, load_inputs, load_labels
from edgestill.data.config import ROLES, DataConfig, SplitConfig, SplitStep
from edgestill.data.remarks import read_remarks
from edgestill.data.stage import split
from edgestill.digest import digest_folder
from edgestill.errors import DataError
from edgestill.step import StepContext

DIGITS = DataConfig("sklearn.digits", SplitConfig(0.4, 0.1, 0.1, 0.4))


class Run:
    """One split in a folder of its own, with what it said."""

    def __init__(self, base, config, task="classification", seed=0):
        self.said, self.progress = [], []
        self.out = base / f"out{len(list(base.glob('out*')))}"
        context = StepContext(
            base, base / "work", lambda share, _: self.progress.append(share), self.said.append
        )
        self.datasets = split(SplitStep(config, task, seed), self.out, context)

    def counts(self):
        return [self.datasets[role].description.count for role in ROLES]


def save(folder, name, images, labels):
    numpy.savez(folder / name, image=images, y=labels)
    return name


def noise(count, seed=0):
    return numpy.random.default_rng(seed).integers(0, 256, (count, 4), numpy.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("digits"), DIGITS)


def test_four_sealed_datasets(digits):
    assert list(digits.datasets) == list(ROLES)
    assert sum(digits.counts()) == 1797
    for role, dataset in digits.datasets.items():
        again = Dataset(digits.out / role, dataset.digest)
        assert again.digest == digest_folder(digits.out / role)
        description = again.description
        assert (description.role, description.task) == (role, "classification")
        assert description.inputs == (TensorSpec("image", "uint8", (None, 1, 8, 8)),)
        assert description.class_names == tuple("0123456789")
        image, labels = load_inputs(dataset)["image"], load_labels(dataset)
        assert image.shape == (description.count, 1, 8, 8)
        assert labels.shape == (description.count,)
        assert isinstance(image, numpy.memmap)
        ids = load_ids(dataset)
        assert ids.dtype == numpy.uint64
        assert (ids[1:] >= ids[:-1]).all()
    assert digits.said == []
    assert read_remarks(digits.out) == ()
    assert digits.progress == sorted(digits.progress)
    assert digits.progress[-1] == 1


def test_images_keep_their_labels(digits):
    from sklearn.datasets import load_digits

    truth = load_digits()
    label_of = {
        image.astype(numpy.uint8).tobytes(): label
        for image, label in zip(truth.images, truth.target, strict=True)
    }
    for dataset in digits.datasets.values():
        pairs = zip(load_inputs(dataset)["image"], load_labels(dataset), strict=True)
        assert all(label_of[image.tobytes()] == label for image, label in pairs)


def test_the_same_split_has_the_same_bytes(digits, tmp_path):
    again = Run(tmp_path, DIGITS)
    assert {r: d.digest for r, d in again.datasets.items()} == {
        r: d.digest for r, d in digits.datasets.items()
    }
    other = Run(tmp_path, DIGITS, seed=1)
    assert other.datasets["test"].digest != digits.datasets["test"].digest


def test_files_are_what_numpy_writes(digits, tmp_path):
    labels = load_labels(digits.datasets["test"])
    numpy.save(tmp_path / "labels.npy", labels)
    written = digits.datasets["test"].labels_path.read_bytes()
    assert written == (tmp_path / "labels.npy").read_bytes()


def test_a_corrected_label_moves_no_sample(tmp_path):
    images, labels = noise(200), numpy.arange(200) % 3
    before = Run(tmp_path, DataConfig(save(tmp_path, "a.npz", images, labels)))
    labels[17] = (labels[17] + 1) % 3
    after = Run(tmp_path, DataConfig(save(tmp_path, "a.npz", images, labels)))
    changed = 0
    for role in ROLES:
        first, second = before.datasets[role], after.datasets[role]
        assert (load_ids(first) == load_ids(second)).all()
        assert (load_inputs(first)["image"] == load_inputs(second)["image"]).all()
        changed += int((load_labels(first) != load_labels(second)).sum())
    assert changed == 1


def test_an_added_sample_moves_no_other(tmp_path):
    images, labels = noise(201), numpy.arange(201) % 3
    before = Run(tmp_path, DataConfig(save(tmp_path, "a.npz", images[:200], labels[:200])))
    after = Run(tmp_path, DataConfig(save(tmp_path, "a.npz", images, labels)))
    for role in ROLES:
        assert set(load_ids(before.datasets[role])) <= set(load_ids(after.datasets[role]))
    assert sum(after.counts()) == sum(before.counts()) + 1


def test_equal_samples_never_part(tmp_path):
    images, labels = noise(100), numpy.arange(100) % 3
    name = save(tmp_path, "a.npz", numpy.tile(images, (3, 1)), numpy.tile(labels, 3))
    ids = [set(load_ids(d)) for d in Run(tmp_path, DataConfig(name)).datasets.values()]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 100


def test_a_role_takes_its_own_source_whole(tmp_path):
    train = save(tmp_path, "train.npz", noise(200), numpy.arange(200) % 3)
    test = save(tmp_path, "test.npz", noise(50, 1), numpy.arange(50) % 3)
    run = Run(tmp_path, DataConfig({"train": train, "test": test}))
    assert run.counts()[3] == 50
    assert sum(run.counts()) == 250


def test_a_limit_holds_for_each_source(tmp_path):
    train = save(tmp_path, "train.npz", noise(200), numpy.arange(200) % 3)
    test = save(tmp_path, "test.npz", noise(50, 1), numpy.arange(50) % 3)
    run = Run(tmp_path, DataConfig({"train": train, "test": test}, limit=40))
    assert run.counts()[3] == 40
    assert sum(run.counts()) == 80


def test_test_samples_that_are_in_train_are_told(tmp_path):
    train = save(tmp_path, "train.npz", noise(200), numpy.arange(200) % 3)
    run = Run(tmp_path, DataConfig({"train": train, "validation": train, "test": train}))
    known = run.counts()[0]
    assert (
        f"{known} of 200 samples of test are in train too: scores on test will flatter" in run.said
    )
    assert len(run.said) == 2
    assert read_remarks(run.out) == tuple(run.said)


def test_a_samples_role_does_not_depend_on_the_file_that_it_lies_in(tmp_path):
    lines = [f"{index},{index % 7},{index % 3}" for index in range(400)]
    layouts = {
        "one.csv": {"one.csv": lines},
        "even/*.csv": {f"even/{k}.csv": lines[100 * k : 100 * (k + 1)] for k in range(4)},
        "uneven": {"uneven/z.csv": lines[:37], "uneven/a/b.csv": lines[37:]},
    }
    datasets = {}
    for source, files in layouts.items():
        for name, rows in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("\n".join(["a,b,label", *rows]))
        datasets[source] = Run(tmp_path, DataConfig(source)).datasets
    for role in ROLES:
        assert len({digest_folder(found[role].path) for found in datasets.values()}) == 1


def test_unused_samples_are_told(tmp_path):
    name = save(tmp_path, "a.npz", noise(200), numpy.arange(200) % 3)
    run = Run(tmp_path, DataConfig(name, SplitConfig(train=0.4, test=0.2)))
    assert run.said == ["data.split: 20.0% of the samples are in no split"]


@pytest.mark.parametrize("below", [20, 254])
def test_a_class_255_far_above_the_others_may_be_no_class(tmp_path, below):
    labels = numpy.r_[numpy.arange(800) % 20, numpy.full(8, below), numpy.full(20, 255)]
    name = save(tmp_path, "a.npz", noise(828), labels)
    told = Run(tmp_path, DataConfig(name)).said[0]
    if below == 254:
        assert told.startswith("classes without any sample: 20, 21, ")
    else:
        assert told == (
            "label 255 is a class here, and 254 below it never occurs: if it marks what has no "
            "label, write -100 in its place"
        )


def test_a_class_that_is_missing_from_a_split_is_told(tmp_path):
    labels = numpy.r_[numpy.arange(400) % 2, numpy.full(8, 2), 4, 4]
    name = save(tmp_path, "a.npz", noise(410), labels)
    run = Run(tmp_path, DataConfig(name, SplitConfig(calibration=0.01)))
    assert run.said[0] == "classes without any sample: 3"
    assert "calibration has no sample of: 2 (8 in all)" in run.said


def test_an_empty_split(tmp_path):
    name = save(tmp_path, "a.npz", noise(6), numpy.arange(6) % 2)
    with pytest.raises(
        DataError, match=r"a.npz: \w+ gets none of 6 samples \(share 0.\d\). Raise data.split"
    ):
        Run(tmp_path, DataConfig(name))


@pytest.mark.parametrize(
    ("task", "limit", "what", "fix"),
    [
        ("custom", 2, "gets none of the 2 samples that data.limit leaves", "Raise data.limit or"),
        ("classification", 4, "(2 of the 4 samples that data.limit leaves;", "raise data.limit or"),
    ],
)
def test_a_limit_that_leaves_too_few_is_named(tmp_path, task, limit, what, fix):
    name = save(tmp_path, "a.npz", noise(600), numpy.arange(600) % 2)
    with pytest.raises(DataError) as raised:
        Run(tmp_path, DataConfig(name, limit=limit), task)
    assert what in raised.value.what
    assert fix in raised.value.fix


def test_a_split_of_a_single_class(tmp_path):
    train = save(tmp_path, "train.npz", noise(200), numpy.arange(200) % 3)
    test = save(tmp_path, "test.npz", noise(9, 1), numpy.ones(9, int))
    with pytest.raises(
        DataError,
        match=r"test.npz: test has samples of 1 class \(9 of 9 samples; the source has 1 class\)",
    ):
        Run(tmp_path, DataConfig({"train": train, "test": test}))


def test_sources_with_different_inputs(tmp_path):
    train = save(tmp_path, "train.npz", noise(50), numpy.arange(50) % 2)
    test = save(tmp_path, "test.npz", noise(50)[:, :3], numpy.arange(50) % 2)
    with pytest.raises(
        DataError,
        match=r"gives image uint8 \[\?, 3\], while .*train.npz gives image uint8 \[\?, 4\]",
    ):
        Run(tmp_path, DataConfig({"train": train, "test": test}))


def test_several_inputs(tmp_path):
    ids = numpy.arange(300).reshape(100, 3)
    numpy.savez(tmp_path / "a.npz", ids=ids, mask=ids % 2 == 0, y=ids)
    run = Run(tmp_path, DataConfig("a.npz"), task="custom")
    for dataset in run.datasets.values():
        inputs = load_inputs(dataset)
        assert list(inputs) == ["ids", "mask"]
        assert ((inputs["ids"] % 2 == 0) == inputs["mask"]).all()
        assert (load_labels(dataset) == inputs["ids"]).all()


def unlabelled(folder, **config):
    """Samples without labels to train and calibrate on, and labelled ones to judge by."""
    numpy.savez(folder / "train.npz", image=noise(60))
    sources = {"train": "train.npz"}
    for seed, role in enumerate(("validation", "test"), 1):
        labels = numpy.arange(20) % 3
        sources[role] = save(folder, f"{role}.npz", noise(20, seed), labels)
    return DataConfig(sources, **config)


@pytest.mark.parametrize("labels", [None, "y"])
def test_samples_to_learn_from_may_have_no_labels(tmp_path, labels):
    run = Run(tmp_path, unlabelled(tmp_path, labels=labels))
    found = {role: load_labels(dataset) for role, dataset in run.datasets.items()}
    assert [role for role in ROLES if found[role] is None] == ["train", "calibration"]
    assert sorted(found["test"].tolist()) == sorted(i % 3 for i in range(20))
    assert {dataset.description.class_names for dataset in run.datasets.values()} == {
        ("0", "1", "2")
    }
    assert run.said == ["train has no labels: only a teacher can say what its samples are"]


def test_samples_that_are_judged_need_labels(tmp_path):
    config = unlabelled(tmp_path)
    sources = {role: config.source[role] for role in ("train", "test")}
    with pytest.raises(DataError) as error:
        Run(tmp_path, DataConfig(sources))
    assert str(error.value) == (
        f"{tmp_path / 'train.npz'}: there are no labels (the inputs are image), and validation is "
        "judged by them. Say which column holds them with data.labels. Only sources of train and "
        "calibration may lack them"
    )


def test_a_wrong_name_of_labels_is_told_where_they_have_to_be(tmp_path):
    """Train, which may lack it, would make a text among the inputs of its true name."""
    config = unlabelled(tmp_path, labels="yy")
    numpy.savez(tmp_path / "train.npz", image=noise(60), y=["a", "b", "c"] * 20)
    with pytest.raises(DataError, match=r"validation.npz: there is no column or array 'yy'"):
        Run(tmp_path, config)


def test_only_samples_with_a_label_are_judged(tmp_path):
    samples = numpy.arange(400)
    cells = ["" if i % 4 == 0 else str(i % 3) for i in samples]
    lines = [f"{i},{cell}" for i, cell in zip(samples, cells, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["a,y", *lines]))
    (tmp_path / "full.csv").write_text("\n".join(["a,y", *(f"{i},{i % 3}" for i in samples)]))
    run, full = (Run(tmp_path, DataConfig(name)) for name in ("a.csv", "full.csv"))
    for role in ROLES:
        ids = load_inputs(run.datasets[role])["features"][:, 0]
        labels = load_labels(run.datasets[role])
        everyone = load_inputs(full.datasets[role])["features"][:, 0]
        if role in ("validation", "test"):
            everyone = everyone[everyone % 4 != 0]
        # A sample without a label moves no other.
        assert ids.tolist() == everyone.tolist()
        assert labels.tolist() == [-100 if i % 4 == 0 else i % 3 for i in ids]
    counts, all_counts = run.counts(), full.counts()
    gaps = sum(load_labels(run.datasets["train"]) == -100)
    assert run.said == [
        f"{gaps} of {counts[0]} samples of train have no label and are kept: only a teacher can "
        "say what they are",
        *(
            f"{whole - left} of {whole} samples of {role} have no label and are left out"
            for role, whole, left in zip(ROLES[2:], all_counts[2:], counts[2:], strict=True)
        ),
    ]


def test_samples_of_which_some_positions_have_labels_are_judged(tmp_path):
    """Tokens: what is padding has none, and a sample of nothing else is left out."""
    labels = noise(400, 1).astype(numpy.int64) % 3
    labels = numpy.where(numpy.arange(4) < numpy.arange(400)[:, None] % 5, labels, -100)
    images = noise(400)
    run = Run(tmp_path, DataConfig(save(tmp_path, "a.npz", images, labels)))
    of_image = {image.tobytes(): own.tolist() for image, own in zip(images, labels, strict=True)}
    for role, dataset in run.datasets.items():
        inputs, found = load_inputs(dataset)["image"], load_labels(dataset)
        assert found.dtype == numpy.int64
        assert found.tolist() == [of_image[image.tobytes()] for image in inputs]
        missing = found == -100
        assert missing.all(axis=1).any() == (role in ("train", "calibration"))
        assert (missing.any(axis=1) & ~missing.all(axis=1)).any()


def test_a_regression(tmp_path):
    name = save(tmp_path, "a.npz", noise(100), numpy.linspace(-1, 1, 100))
    run = Run(tmp_path, DataConfig(name), task="regression")
    assert load_labels(run.datasets["train"]).dtype == numpy.float32
    assert run.datasets["train"].description.class_names == ()
