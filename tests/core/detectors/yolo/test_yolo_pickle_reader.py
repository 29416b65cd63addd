"""The reader of pickles on harmless files: what it keeps, in every protocol. What it refuses is in `test_yolo_attacks`."""

from __future__ import annotations

import collections
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailer_core.detectors.yolo.inert import StorageRef, Stub, entries, items, shown, tensor_ref
from detailer_core.detectors.yolo.pickle_reader import read_pickle
from detailer_core.errors import ModelFileError

PLAIN = st.recursive(st.none() | st.booleans() | st.integers(-2 ** 200, 2 ** 200) | st.floats(allow_nan=False) | st.text(),
                     lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-9, 9), inner))


@given(PLAIN, st.integers(2, 5))
def test_plain_values_come_back(value: object, protocol: int) -> None:
    """What plain pickle writes is read as it was, in all protocols that torch can write."""
    assert read_pickle(pickle.dumps(value, protocol), "x.pt") == value


@given(st.binary(max_size=300))
def test_noise_is_refused_or_read(data: bytes) -> None:
    """Any bytes give a plain value or the one error of model files."""
    try:
        read_pickle(b"\x80\x02" + data, "x.pt")
    except ModelFileError as error:
        assert "x.pt" in str(error)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_become_plain_ones(protocol: int) -> None:
    """Ordered and default dictionaries become dictionaries, sets become lists."""
    value: Any = {"o": collections.OrderedDict(a=1), "d": collections.defaultdict(list, {"b": 2}), "s": {3}}
    assert read_pickle(pickle.dumps(value, protocol), "x.pt") == {"o": {"a": 1}, "d": {"b": 2}, "s": [3]}


def test_stub_keeps_attributes_and_runs_nothing() -> None:
    """An object of a class that is allowed is a name with attributes."""
    stub = read_pickle(b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n)\x81}X\x02\x00\x00\x00ncK\x03sb.", "x.pt")
    assert isinstance(stub, Stub)
    assert (stub.name, stub.kind, stub.state) == ("ultralytics.nn.tasks.DetectionModel", "DetectionModel", {"nc": 3})
    assert repr(stub) == "Stub(ultralytics.nn.tasks.DetectionModel)"


@pytest.mark.parametrize(("shape", "strides", "offset", "sound"), [
    ((2, 3), (3, 1), 0, True), ((2, 3), (3, 1), 1, False), ((), (), 5, True), ((), (), 6, False), ((0,), (1,), 99, True),
    ((7,), (0,), 0, False), ((2,), (1, 1), 0, False), ((-1,), (1,), 0, False), ((2.0,), (1,), 0, False), ((1,) * 9, (1,) * 9, 0, False)])
def test_tensor_lies_in_its_numbers(shape: Any, strides: Any, offset: int, sound: bool) -> None:
    """A view of 6 numbers is kept if it stays inside of them and does not multiply them."""
    view = tensor_ref(StorageRef(dtype="float16", key="0", count=6), offset, shape, strides)
    assert (view is not None) == sound


def test_helpers_of_untrusted_values() -> None:
    """Only lists, tuples and dictionaries are looked into; what may be endless is not printed."""
    assert (items([1]), items((1,)), items("ab"), dict(entries({1: 2})), dict(entries([1]))) == ([1], (1,), None, {1: 2}, {})
    assert (shown("a"), shown(3), shown([[]]), shown(1 << 70)) == ("'a'", "3", "a list", "a int")
