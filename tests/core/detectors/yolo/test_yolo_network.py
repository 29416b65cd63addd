"""The network on small models: shapes, equality with torch's own modules, and errors."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detailer_core.detectors.yolo.checkpoint import YoloCheckpoint, read_pt
from detailer_core.detectors.yolo.layer_spec import LayerSpec, from_json, to_json
from detailer_core.detectors.yolo.layers import Attention, Conv, LayerBuilder, SpatialPyramid
from detailer_core.detectors.yolo.network import build_network
from detailer_core.errors import ModelFileError

Saver = Callable[..., Path]


@pytest.mark.parametrize("family", ["yolov8", "yolo11", "yolov5u"])
@pytest.mark.parametrize(("task", "rows"), [("detect", 6), ("segment", 10)])
def test_shapes(save_model: Saver, family: str, task: str, rows: int) -> None:
    """Every family and task gives rows for boxes, classes and coefficients, one column per anchor, in every picture of a batch."""
    network = build_network(read_pt(save_model(family=family, task=task)))
    with torch.inference_mode():
        output = network(torch.rand(2, 3, 64, 96))
    assert output.raw().shape == (2, rows, 8 * 12 + 4 * 6)
    assert (output.prototypes is None) == (task == "detect")
    assert task == "detect" or output.prototypes.shape == (2, 4, 16, 24)
    assert 0 <= float(output.classes.sigmoid().min()) <= float(output.classes.sigmoid().max()) <= 1


def test_only_candidates_are_decoded(save_model: Saver) -> None:
    """The columns above a threshold are those of the whole answer, in the same order."""
    network = build_network(read_pt(save_model(task="segment")))
    with torch.inference_mode():
        output = network(torch.rand(1, 3, 64, 64))
        raw, limit = output.raw()[0], float(output.classes[0].amax(0).median())
        torch.testing.assert_close(output.raw_above(limit), raw[:, output.classes[0].amax(0) > limit])


def test_input_and_batch_do_not_matter(save_model: Saver) -> None:
    """The picture stays as it is, and a picture gives the same alone or in a batch."""
    network = build_network(read_pt(save_model()))
    pictures = torch.rand(2, 3, 64, 64)
    before = pictures.clone()
    with torch.inference_mode():
        both, alone = network(pictures).raw(), network(pictures[1:]).raw()
    assert torch.equal(pictures, before)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)


def test_pooling_pyramid_is_one_of_growing_windows() -> None:
    """Three poolings of 5 pixels in a row are poolings of 5, 9 and 13."""
    x = torch.randn(1, 2, 20, 20)
    got = SpatialPyramid(enter=lambda y: y, leave=lambda y: y, pool=5, times=3, add=False)(x)
    expected = torch.cat([x, *(torch.nn.functional.max_pool2d(x, side, 1, side // 2) for side in (5, 9, 13))], 1)
    assert torch.equal(got, expected)


def test_attention_is_that_of_torch() -> None:
    """With one mixing for all parts, attention equals torch's own."""
    heads, key, head, side = 2, 4, 8, 5
    dealt = torch.randn(1, heads * (2 * key + head), side, side)
    layer = Attention(mix=lambda x: dealt, position=torch.zeros_like, leave=lambda x: x, heads=heads, key_width=key, head_width=head)
    query, keys, value = dealt.reshape(1, heads, 2 * key + head, -1).transpose(2, 3).split((key, key, head), 3)
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, value).transpose(2, 3).reshape(1, -1, side, side)
    torch.testing.assert_close(layer(torch.zeros(1, 1, side, side)), expected)


def test_spec_survives_json(save_model: Saver) -> None:
    """Every layer comes back from JSON as it was."""
    for layer in read_pt(save_model(family="yolo11", task="segment")).layers:
        assert from_json(to_json(layer)) == layer


@pytest.mark.parametrize(("value", "message"), [
    (3, "not known"), ({"kind": "lstm"}, "'lstm'"), ({"kind": "conv", "options": 3, "parts": {}, "sources": []}, "'conv'"),
    ({"kind": "conv", "options": {"a": [1]}, "parts": {}, "sources": []}, "no numbers"),
    ({"kind": "sequence", "options": {}, "parts": {"x" * 101: 3}, "sources": []}, "beyond measure")])
def test_unsound_json(value: object, message: str) -> None:
    """A description of another shape is refused by what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        from_json(value)


def _spoil(checkpoint: YoloCheckpoint, what: str) -> YoloCheckpoint:
    """The checkpoint with one thing wrong."""
    tensors, layers = dict(checkpoint.tensors), list(checkpoint.layers)
    if what == "missing tensor":
        del tensors["model.0.weight"]
    elif what == "bias":
        tensors["model.0.bias"] = torch.zeros(3)
    elif what == "stride":
        layers[0] = replace(layers[0], options={**layers[0].options, "stride_x": 0})
    elif what == "padding":
        layers[0] = replace(layers[0], options={**layers[0].options, "padding_y": 1_000_000})
    elif what == "activation":
        layers[0] = replace(layers[0], options={**layers[0].options, "activation": "exec"})
    elif what == "missing part":
        layers[3] = replace(layers[3], parts={})
    elif what == "head inside":
        layers[3] = LayerSpec(kind="detect")
    else:
        layers[9] = replace(layers[9], sources=(6,))
    return replace(checkpoint, tensors=tensors, layers=tuple(layers))


@pytest.mark.parametrize(("what", "message"), [
    ("missing tensor", "'model.0' has no weight"), ("bias", "do not belong together"), ("stride", "not sound"),
    ("padding", "padding_y = 1000000"),
    ("activation", "'exec'"), ("missing part", "lacks its part"), ("head inside", "cannot be where it is"), ("levels", "for 1 levels")])
def test_spoilt_checkpoint(save_model: Saver, what: str, message: str) -> None:
    """Layers and tensors that do not belong together are refused when the network is built."""
    with pytest.raises(ModelFileError, match=message):
        build_network(_spoil(read_pt(save_model()), what))


def test_deconvolution_is_that_of_torch(parts: types.SimpleNamespace) -> None:
    """The spec of a transposed convolution gives what torch's module gives."""
    plain = torch.nn.ConvTranspose2d(4, 6, 2, 2)
    options = {"groups": 1, "activation": "none", "stride_y": 2, "stride_x": 2, "padding_y": 0, "padding_x": 0, "dilation_y": 1,
               "dilation_x": 1}
    builder = LayerBuilder(tensors={"up.weight": plain.weight.detach(), "up.bias": plain.bias.detach()})
    layer = builder.build(LayerSpec(kind="deconv", options=options), "up")
    x = torch.randn(1, 4, 5, 7)
    assert isinstance(layer, Conv)
    torch.testing.assert_close(layer(x), plain(x))
