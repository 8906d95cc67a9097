"""The models of the digits preset: small, alike in shape, good at digits."""

import pytest

from edgestill.artifact import TensorSpec
from edgestill.data.arrays import load_inputs, load_labels
from edgestill.data.config import DataConfig, SplitConfig, SplitStep
from edgestill.data.stage import split
from edgestill.models.config import NormalizeConfig
from edgestill.models.resolve import number_of_parameters
from edgestill.step import StepContext

torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")

from edgestill.models import digits  # noqa: E402
from edgestill.models.wrapper import DeviceModel  # noqa: E402

IMAGE = TensorSpec("image", "uint8", (None, 1, 8, 8))


def test_sizes_are_those_of_the_docstrings():
    assert number_of_parameters(digits.teacher()) == 556_554
    assert number_of_parameters(digits.student()) == 24_058


def test_both_answer_alike_in_shape():
    for module in (digits.teacher(), digits.student()):
        model = DeviceModel(module, NormalizeConfig(range=16), (IMAGE,))
        assert model.output_names == ("logits",)
        assert model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))[0].shape == (3, 10)


def test_layers_for_hints_have_maps_of_one_size():
    image = torch.zeros(1, 1, 8, 8)
    assert digits.student().body[:3](image).shape == (1, 64, 4, 4)
    assert digits.teacher().body(image).shape == (1, 192, 4, 4)


def test_the_student_learns_digits_alone(tmp_path):
    pytest.importorskip("sklearn", reason="pip install 'edgestill[build]'")
    config = SplitStep(
        DataConfig("sklearn.digits", SplitConfig(0.4, 0.1, 0.1, 0.4)), "classification", 0
    )
    context = StepContext(tmp_path, tmp_path / "work", lambda *_: None, lambda _: None)
    parts = split(config, tmp_path / "out", context)
    images, labels = {}, {}
    for role in ("train", "test"):
        images[role] = torch.from_numpy(load_inputs(parts[role])["image"].copy())
        labels[role] = torch.from_numpy(load_labels(parts[role]).copy())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DeviceModel(digits.student(), NormalizeConfig(range=16), (IMAGE,))
        optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
        for _ in range(10):
            for rows in torch.randperm(len(labels["train"])).split(64)[:-1]:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(
                    model(images["train"][rows])[0], labels["train"][rows]
                ).backward()
                optimizer.step()
    with torch.no_grad():
        predicted = model.eval()(images["test"])[0].argmax(1)
    assert (predicted == labels["test"]).float().mean() > 0.93
