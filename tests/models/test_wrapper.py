"""The device's view of a module: inputs cast and normalised, outputs flat and named."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy
import pytest

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.models.config import ModelConfig, NormalizeConfig

torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")

from torch import nn  # noqa: E402

from edgestill.models.wrapper import DeviceModel  # noqa: E402

IMAGE = TensorSpec("image", "uint8", (None, 3, 4, 5))
IDS = TensorSpec("ids", "int64", (None, 7))
MASK = TensorSpec("mask", "bool", (None, 7))


class Calls(nn.Module):
    """Returns what a function makes of its arguments."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.function(x)


def wrap(function, *inputs, normalize=None, **options):
    return DeviceModel(Calls(function), normalize, inputs or (IMAGE,), **options)


def image(value=7, shape=(2, 3, 4, 5)):
    return torch.full(shape, value, dtype=torch.uint8)


def test_bytes_become_floats_and_indices_stay():
    assert wrap(lambda x: x)(image())[0].dtype == torch.float32
    for dtype in ("int64", "int32", "bool"):
        spec = TensorSpec("ids", dtype, (None, 7))
        tensor = torch.zeros(2, 7, dtype=getattr(torch, dtype))
        assert wrap(lambda x: x, spec)(tensor)[0].dtype == tensor.dtype
    half = torch.zeros(2, 7, dtype=torch.float16)
    assert wrap(lambda x: x, TensorSpec("a", "float16", (None, 7)))(half)[0].dtype == torch.float32


def test_whole_numbers_that_are_no_indices_are_told_as_such():
    spec = TensorSpec("image", "int64", (None, 3, 4, 5))
    with pytest.raises(ModelError) as raised:
        wrap(nn.Conv2d(3, 2, 3), spec)
    assert "given image int64 [2, 3, 4, 5]" in raised.value.what
    assert raised.value.fix == (
        "image arrives as whole numbers, as indices do: give uint8 or floats in the data, or say "
        "normalize, which makes floats of it"
    )


@pytest.mark.parametrize(
    ("dtype", "arrives"),
    [
        ("uint8", "float32, as bytes and floats do"),
        ("float32", "float32, as bytes and floats do"),
        ("int16", "int16"),
    ],
)
def test_indices_of_a_type_that_is_none_are_told_as_such(dtype, arrives):
    spec = TensorSpec("ids", dtype, (None, 7))
    for function in (nn.Embedding(9, 2), lambda x: nn.functional.one_hot(x)):
        with pytest.raises(ModelError) as raised:
            wrap(function, spec)
        assert raised.value.fix == (
            f"ids arrives as {arrives}: give indices as int32 or int64 in the data"
        )


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_weights_of_another_width_are_told_as_such(dtype):
    layer = nn.Linear(7, 2).to(getattr(torch, dtype))
    with pytest.raises(ModelError) as raised:
        wrap(layer, TensorSpec("x", "float32", (None, 7)))
    assert raised.value.fix == (
        f"Floats arrive as float32, and it has weights of torch.{dtype}: return module.float()"
    )


def test_a_module_without_a_forward():
    with pytest.raises(ModelError) as raised:
        DeviceModel(nn.ModuleList([nn.Linear(7, 2)]), None, (IDS,))
    assert str(raised.value) == (
        "ModuleList has no forward. Write one, or put the layers into an nn.Sequential"
    )


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_forward_that_writes_into_its_input_leaves_the_callers_as_it_was(dtype):
    given = torch.ones(2, 7, dtype=getattr(torch, dtype))
    model = wrap(lambda x: x.mul_(3), TensorSpec("x", dtype, (None, 7)))
    assert model(given)[0].unique().tolist() == [3]
    assert given.unique().tolist() == [1]


@pytest.mark.parametrize(
    "shape", [(3, 4, 5), (4, 5, 3), (3, 8), (8, 3), (3,)], ids=lambda shape: str(shape)
)
def test_normalisation_along_the_channels(shape):
    mean, std = numpy.array([0.5, 0.2, 0.1]), numpy.array([0.25, 0.5, 2.0])
    normalize = NormalizeConfig(255, tuple(mean), tuple(std))
    model = wrap(lambda x: x, TensorSpec("x", "uint8", (None, *shape)), normalize=normalize)
    array = numpy.random.default_rng(0).integers(0, 256, (2, *shape), numpy.uint8)
    last = numpy.moveaxis(array, 1 if shape[0] == 3 else -1, -1)
    expected = (last / 255 - mean) / std
    expected = numpy.moveaxis(expected, -1, 1 if shape[0] == 3 else -1)
    numpy.testing.assert_allclose(model(torch.from_numpy(array))[0], expected, atol=2e-6)


def test_one_value_for_all_channels_and_integers_that_are_normalised():
    normalize = NormalizeConfig(range=10, mean=(1.0,), std=(2.0,))
    model = wrap(lambda x: x, IDS, normalize=normalize)
    assert model(torch.full((2, 7), 40))[0].unique().tolist() == [1.5]


def test_the_recipe_says_the_normalisation_and_a_checkpoint_does_not():
    model = wrap(lambda x: x, normalize=NormalizeConfig(255, (0.5,) * 3, (0.5,) * 3))
    assert list(model.state_dict()) == ["module.layer.weight", "module.layer.bias"]
    assert isinstance(model.module, Calls)


@pytest.mark.parametrize(
    ("normalize", "inputs", "message"),
    [
        (NormalizeConfig(1, (0, 0), (1,)), (IMAGE,), r"normalize has 2 channels, the input is ima"),
        (NormalizeConfig(1, (0, 0), (1,) * 3), (IMAGE,), r"mean has 2 values, normalize.std 3"),
        (
            NormalizeConfig(),
            (IDS, MASK),
            r"does not say .*: ids, mask. Add normalize.input: ids or mask",
        ),
        (NormalizeConfig(input="maks"), (IDS, MASK), r"'maks', which is no input. Did you mean"),
    ],
)
def test_normalisation_that_does_not_fit(normalize, inputs, message):
    with pytest.raises(ModelError, match=message):
        DeviceModel(Positional(), normalize, inputs)


class Pair(nn.Module):
    def forward(self, mask, ids):
        return ids * ~mask


class Single(nn.Module):
    def forward(self, x, scale=2):
        return x * scale


class Keywords(nn.Module):
    def forward(self, **batch):
        return batch["ids"]


class Positional(nn.Module):
    def forward(self, *tensors):
        return tensors[0]


class Three(nn.Module):
    def forward(self, a, b, c):
        return a


def test_inputs_are_bound_by_name_where_names_match():
    ids, mask = torch.arange(14).reshape(2, 7), torch.zeros(2, 7, dtype=torch.bool)
    model = DeviceModel(Pair(), None, (IDS, MASK))
    assert torch.equal(model(ids, mask)[0], ids)


@pytest.mark.parametrize("module", [Keywords(), Positional(), Single()])
def test_other_ways_to_take_inputs(module):
    ids = torch.arange(14).reshape(2, 7)
    assert DeviceModel(module, None, (IDS,))(ids)[0].shape == (2, 7)


def test_inputs_are_bound_in_order_where_their_number_agrees():
    renamed = (TensorSpec("m", "bool", (None, 7)), TensorSpec("i", "int64", (None, 7)))
    assert not DeviceModel(Pair(), None, renamed).by_name


def test_inputs_that_forward_does_not_take():
    with pytest.raises(ModelError) as raised:
        DeviceModel(Three(), None, (IDS, MASK))
    assert str(raised.value) == (
        "the data has the inputs ids, mask; forward takes (a, b, c). Name the inputs as forward "
        "does, or choose some with data.inputs; each column of a .parquet is an input, those of a "
        ".csv are one, features"
    )


@dataclass
class Answer:
    logits: object
    features: object = None


class NamedAnswer(NamedTuple):
    boxes: object
    scores: object


@pytest.mark.parametrize(
    ("function", "names", "prediction"),
    [
        (lambda x: x, ("logits",), 0),
        (lambda x: (x,), ("output_0",), 0),
        (lambda x: {"features": x, "logits": x}, ("features", "logits"), 1),
        (lambda x: Answer(x), ("logits",), 0),
        (lambda x: Answer(x, [x, {"a": x}]), ("logits", "features_0", "features_1_a"), 0),
        (lambda x: {"output": x, "aux": NamedAnswer(x, None)}, ("output", "aux_boxes"), 0),
    ],
)
def test_outputs_are_flat_and_named(function, names, prediction):
    model = wrap(function)
    assert (model.output_names, model.prediction_index) == (names, prediction)
    outputs = model(image())
    assert len(outputs) == len(names)
    assert model.prediction(image()).shape == (2, 3, 4, 5)


def test_the_only_output_is_named_by_the_task():
    assert wrap(lambda x: x, task="regression").output_names == ("output",)


def test_the_recipe_chooses_the_prediction():
    assert wrap(lambda x: (x, x), output="output_1").prediction_index == 1


@pytest.mark.parametrize(
    ("function", "output", "message"),
    [
        (lambda x: (x, x), None, r"several outputs: output_0, output_1. Say which .*output: outp"),
        (lambda x: (x, x), "output_2", r"'output_2' is not among the model's outputs. Did you"),
        (lambda x: {"a": "text"}, None, r"output a is a str, not a tensor. Return tensors only"),
        (lambda x: {"image": x}, None, r"output image has the name of an input. Rename"),
        (lambda x: {"a": (x,), "a_0": x}, None, r"output a_0 has the name of another output"),
        (lambda x: None, None, r"forward returns no tensor"),
        (lambda x: x[:, 9], None, r"test_wrapper.py:\d+: forward raised IndexError.*given image u"),
        (
            lambda x: x.new_empty(2**50),
            None,
            r"forward raised .*allocate.* It is memory that is sh",
        ),
    ],
)
def test_outputs_that_do_not_work(function, output, message):
    with pytest.raises(ModelError, match=message):
        wrap(function, output=output)


class Auxiliary(nn.Module):
    """Like GoogLeNet: one more output while it trains."""

    def __init__(self, in_training):
        super().__init__()
        self.in_training = in_training

    def forward(self, x):
        return {"aux": x + 1, **self.in_training(x)} if self.training else {"logits": x}


class Tupled(Auxiliary):
    """Like Inception: a tuple while it trains, a tensor else."""

    def forward(self, x):
        return self.in_training(x) if self.training else x


def test_more_outputs_in_training_change_nothing():
    model = DeviceModel(Auxiliary(lambda x: {"logits": x}), None, (IMAGE,))
    assert model.training
    assert model(image())[0].unique().tolist() == [7]


def test_a_tuple_in_training_begins_with_what_evaluation_returns():
    model = DeviceModel(Tupled(lambda x: (x, x + 1)), None, (IMAGE,))
    assert model.training
    (logits,) = model(image())
    assert logits.unique().tolist() == [7]
    turned = DeviceModel(Tupled(lambda x: (x.mean((2, 3)), x)), None, (IMAGE,))
    with pytest.raises(ModelError, match="no longer returns logits; it returns output_0, output_1"):
        turned(image())


def test_fewer_outputs_in_training():
    model = DeviceModel(Auxiliary(lambda _: {}), None, (IMAGE,))
    with pytest.raises(ModelError, match=r"no longer returns logits; it returns aux. Return the"):
        model(image())


def test_learning_the_outputs_leaves_no_trace():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    module[1].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    DeviceModel(module, None, (IMAGE,))
    assert module[0].training
    assert not module[1].training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_around_takes_the_recipe_and_real_samples():
    seen = []
    arrays = {"image": numpy.full((1, 3, 4, 5), 9, numpy.uint8)}
    module = Calls(lambda x: (seen.append(x.unique().tolist()), (x, x))[1])
    config = ModelConfig("net.py:x", normalize=NormalizeConfig(range=9), output="output_1")
    model = DeviceModel.around(module, config, (IMAGE,), "regression", arrays)
    assert seen == [[1.0]]
    assert model.prediction_index == 1


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids, mask):
        vectors = self.embedding(ids) * mask[..., None].float()
        return {"logits": self.head(vectors.mean(1)), "vectors": vectors}


@pytest.mark.filterwarnings("ignore:# The axis name")
def test_two_inputs_and_two_outputs_export_with_a_free_batch(tmp_path):
    pytest.importorskip("onnxscript", reason="pip install 'edgestill[build]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = DeviceModel(Text(), None, (IDS, MASK)).eval()
    example = torch.zeros(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.bool)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        model,
        example,
        dynamo=True,
        dynamic_shapes=(({0: batch}, {0: batch}),),
        input_names=["ids", "mask"],
        output_names=list(model.output_names),
        verbose=False,
    )
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [value.name for value in session.get_inputs()] == ["ids", "mask"]
    assert [value.name for value in session.get_outputs()] == ["logits", "vectors"]
    ids = numpy.arange(35).reshape(5, 7) % 20
    mask = ids % 3 == 0
    answered = session.run(None, {"ids": ids, "mask": mask})
    expected = model(torch.from_numpy(ids), torch.from_numpy(mask))
    for one, other in zip(answered, expected, strict=True):
        numpy.testing.assert_allclose(one, other.detach(), atol=1e-6)
