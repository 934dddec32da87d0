"""Descriptions of objects: equal for equal ones, others for others, and none of what cannot be read."""

import functools
import threading
import types
import uuid

import pytest
import torch

from sama_core.identity import Description, Indescribable, sampled_bytes


def key(value) -> str:
    return Description().add(value, "it").key


def closing(number, default=1):
    def inner(x, y=default):
        return x * number + y
    return inner


class Holder:
    def __init__(self, held):
        self.held = held

    def method(self):
        return self.held


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held):
        self.held = held


def wraps_torch(number):
    """`functools.wraps` gives a function another's module and name."""
    @functools.wraps(torch.nn.functional.gelu.__class__.__call__)
    def wrapper(x):
        return x * number
    wrapper.__module__, wrapper.__qualname__ = "torch.nn.functional", "gelu"
    return wrapper


@pytest.mark.parametrize("make", [
    lambda n: n, lambda n: float(n), lambda n: closing(n), lambda n: closing(0, n), Holder, Slotted,
    lambda n: Holder(n).method, lambda n: functools.partial(closing(1), n), lambda n: {n}, lambda n: {"a": [n]},
    lambda n: torch.tensor([1, n]), lambda n: torch.device("cuda", n), lambda n: range(n), lambda n: slice(n),
    lambda n: types.SimpleNamespace(n=n), lambda n: torch.nn.Linear(n + 1, 1, device="meta").in_features, wraps_torch,
    lambda n: torch.Generator().manual_seed(n), lambda n: [torch.float16, torch.bfloat16][n - 1],
    lambda n: torch.compile(torch.nn.Identity(), backend="eager", dynamic=bool(n - 1))])
def test_equal_things_have_one_key_and_others_another(make):
    assert key(make(1)) == key(make(1)) != key(make(2))


def test_random_identities_count_by_their_order():
    first, second = uuid.uuid4(), object()
    assert key([first, second, first]) == key([*(pair := [uuid.uuid4(), object()]), pair[0]])
    assert key([first, second, first]) != key([first, second, second])


def test_code_counts_and_lines_do_not():
    spaces = [{"__name__": "made"} for _ in range(3)]
    for space, text in zip(spaces, ("def f(x): return x + 1", "\n\ndef f(x):\n    return x + 1",
                                    "def f(x): return x + 2"), strict=True):
        exec(text, space)
    one, two, three = (key(space["f"]) for space in spaces)
    assert one == two != three


def test_cycles_end_and_depth_is_not_limited():
    ring = []
    ring.append(ring)
    assert key(ring) == key(ring)
    keys = set()
    for last in (0, 1):
        deep = [last]
        for _ in range(20_000):
            deep = [deep]
        keys.add(key(deep))
    assert len(keys) == 2


@pytest.mark.parametrize("value", [
    (number for number in ()), threading.Thread(), torch.empty(2, device="meta"), torch.ones(2).to_sparse()])
def test_what_cannot_be_read_is_named_with_its_place(value):
    with pytest.raises(Indescribable, match=r"it\['deep'\]\[0\]\.held"):
        key({"deep": [Holder(value)]})


# --- weights ------------------------------------------------------------------------------------


def sample(tensor) -> str:
    return Description(lambda value: sampled_bytes(value) if isinstance(value, torch.Tensor) else None).add(tensor).key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int8])
@pytest.mark.parametrize("place", [0, 4095, -1, -4096])
def test_large_weights_are_read_at_both_ends(dtype, place):
    weight = torch.zeros(512, 1024, dtype=torch.uint8).view(dtype)
    before = sample(weight)
    weight.view(torch.uint8).view(-1)[place] += 1
    assert sample(weight) != before


def test_at_least_four_times_4_kib_are_read():
    weight = torch.zeros(2**20, dtype=torch.uint8)
    read = sum(len(part) for part in sampled_bytes(weight) if not isinstance(part, bytes))
    assert read == 4 * 4096


def test_kind_and_shape_of_equal_bytes_count():
    weight = torch.zeros(64, 64)
    assert len({sample(weight), sample(weight.view(32, 128)), sample(weight.view(torch.int32))}) == 3


class Packed(torch.Tensor):
    """As GGUF's loader has them: a tensor that knows its true shape and refuses to be copied."""

    def __new__(cls, data, **facts):
        return torch.Tensor._make_subclass(cls, data)

    def __init__(self, data, shape, kind):
        self.true_shape, self.kind, self.patches = shape, kind, []

    def clone(self):
        return self

    def detach(self):
        return self

    @property
    def shape(self):
        return self.true_shape


def test_packed_weights_are_read_raw_with_what_they_say_of_themselves():
    def packed(kind="Q4_K", last=0):
        data = torch.zeros(200_000, dtype=torch.uint8)
        data[-1] = last
        return Packed(data, shape=torch.Size((4, 4)), kind=kind)
    assert sample(packed()) == sample(packed())
    assert len({sample(packed()), sample(packed(kind="Q5_K")), sample(packed(last=1))}) == 3
    patched = packed()
    patched.patches = [("a LoRA", "key")]  # written as the loader patches; the patcher itself says which
    assert sample(patched) == sample(packed())


def test_quantised_wrappers_show_their_data_and_scales():
    tensors = pytest.importorskip("comfy_kitchen.tensor")

    def quantised(scale=1.0, first=0.0):
        data = torch.zeros(64, 64)
        data[0, 0] = first
        layout = tensors.TensorCoreFP8Layout
        params = layout.Params(scale=torch.tensor(scale), orig_dtype=torch.bfloat16, orig_shape=(64, 64))
        return tensors.QuantizedTensor(data.to(torch.float8_e4m3fn), "TensorCoreFP8Layout", params)
    assert sample(quantised()) == sample(quantised())
    assert len({sample(quantised()), sample(quantised(scale=2.0)), sample(quantised(first=1.0))}) == 3
