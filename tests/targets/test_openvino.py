"""What is OpenVINO's own: what it computes in, and a CPU that it has nothing for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Engine, OnnxModel, TensorSpec
from edgestill.errors import ExportError
from edgestill.targets import get_target
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.options import OpenVinoOptions

openvino = pytest.importorskip("openvino", reason="pip install 'edgestill[openvino]'")

Arrays = Mapping[str, NDArray[Any]]


def test_a_cpu_with_bfloat16_uses_it_only_where_that_was_chosen(
    image_model: OnnxModel,
    plain_answer: Callable[[OnnxModel, Arrays], Arrays],
    tmp_path: Path,
) -> None:
    if not set(Fingerprint.read().isa) & {"avx512_bf16", "amx_bf16", "bf16"}:
        pytest.skip("this CPU computes in float32 whatever is chosen")
    feeds = {"image": np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8), np.uint8)}
    expected = plain_answer(image_model, feeds)["logits"]
    errors = {}
    for precision in ("f32", "bf16"):
        out = tmp_path / precision
        out.mkdir()
        options = OpenVinoOptions(inference_precision=precision)
        engine = get_target("openvino").compile(image_model, "fp32", options, out)
        assert engine.description.options == {"inference_precision": precision}
        answer = get_target("openvino").load(engine, threads=1).run(feeds)["logits"]
        errors[precision] = np.abs(answer - expected).max() / np.abs(expected).max()
    assert errors["f32"] < 1e-5
    assert 1e-4 < errors["bf16"] < 5e-2


def test_an_operation_that_openvino_lacks_is_named_with_what_to_do(
    make_onnx: Callable[..., OnnxModel], tmp_path: Path
) -> None:
    matrices = TensorSpec("x", "float32", (None, 3, 3))
    model = make_onnx(
        [("Det", "x", "y", {})], [matrices], [replace(matrices, name="y", shape=(None,))]
    )
    with pytest.raises(ExportError) as raised:
        get_target("openvino").compile(model, "fp32", OpenVinoOptions(), tmp_path)
    assert re.fullmatch(r"OpenVINO \S+ cannot compile the model \(.*Det.*\)", raised.value.what)
    assert raised.value.fix == (
        "Leave openvino out of targets:, or write what it names with operations that it has"
    )


@pytest.mark.parametrize(
    ("devices", "can_compile", "reason"),
    [
        (lambda core: ["GPU"], True, "OpenVINO has no plugin for this CPU"),
        (
            lambda core: openvino.Core().read_model("nowhere.xml"),
            False,
            "OpenVINO cannot start (",
        ),
    ],
)
def test_a_probe_where_openvino_has_nothing_for_the_cpu_says_so(
    devices: Callable[[Any], list[str]],
    can_compile: bool,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino.Core, "available_devices", property(devices))
    found = get_target("openvino").probe()
    assert (found.can_compile, found.can_run) == (can_compile, False)
    assert found.reason.startswith(reason)
    assert found.version == openvino.__version__.split("-")[0]


@pytest.mark.parametrize("streams", [1, 2])
def test_streams_share_the_threads(
    streams: int, doubling: OnnxModel, built: Callable[..., Engine]
) -> None:
    session: Any = get_target("openvino").load(built("openvino", doubling), 2, streams)
    compiled = session._compiled
    assert compiled.get_property("NUM_STREAMS") == streams
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    beside: Any = session.another()
    assert beside._compiled is compiled
    assert beside._request is not session._request
