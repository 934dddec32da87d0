"""Descriptions of objects: equal for equal ones, others for others, and none of what cannot be
read.
"""

import copy
import ctypes
import functools
import importlib
import sys
import threading
import time
import types
import uuid
import weakref

import pytest
import torch

from sama_core.identity import Description, Indescribable, code_bytes, sampled_bytes


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


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n,
        float,
        closing,
        lambda n: closing(0, n),
        Holder,
        Slotted,
        lambda n: Holder(n).method,
        lambda n: functools.partial(closing(1), n),
        lambda n: {n},
        lambda n: {"a": [n]},
        lambda n: torch.tensor([1, n]),
        lambda n: torch.device("cuda", n),
        range,
        slice,
        lambda n: types.SimpleNamespace(n=n),
        lambda n: torch.nn.Linear(n + 1, 1, device="meta").in_features,
        wraps_torch,
        lambda n: torch.Generator().manual_seed(n),
        lambda n: [torch.float16, torch.bfloat16][n - 1],
        lambda n: torch.compile(torch.nn.Identity(), backend="eager", dynamic=bool(n - 1)),
    ],
)
def test_equal_things_have_one_key_and_others_another(make):
    assert key(make(1)) == key(make(1)) != key(make(2))


def test_random_identities_count_by_their_order():
    first, second = uuid.uuid4(), object()
    assert key([first, second, first]) == key([*(pair := [uuid.uuid4(), object()]), pair[0]])
    assert key([first, second, first]) != key([first, second, second])


def test_code_counts_and_lines_do_not():
    spaces = [{"__name__": "made"} for _ in range(3)]
    for space, text in zip(
        spaces,
        ("def f(x): return x + 1", "\n\ndef f(x):\n    return x + 1", "def f(x): return x + 2"),
        strict=True,
    ):
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


@pytest.mark.parametrize(
    "value",
    [
        (number for number in ()),
        threading.Thread(),
        torch.empty(2, device="meta"),
        torch.ones(2).to_sparse(),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(value):
    with pytest.raises(Indescribable, match=r"it\['deep'\]\[0\]\.held"):
        key({"deep": [Holder(value)]})


class Proxied:
    pass


def proxy_of_nothing():
    held = Proxied()
    return weakref.proxy(held)


class Silent:
    def __getattribute__(self, name):
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise RuntimeError("not now")

    __slots__ = ("held",)


@pytest.mark.parametrize("make", [proxy_of_nothing, Silent, lambda: ctypes.c_char_p(b"text")])
def test_what_raises_when_it_is_looked_at_is_named_like_what_cannot_be_read(make):
    """Another pack's object must not break an edit off."""
    with pytest.raises(Indescribable, match=r"it\['deep'\]"):
        key({"deep": make()})


class Whole(int):
    def __repr__(self):
        return "a number"


class Word(str):
    def __repr__(self):
        raise RuntimeError("no")


def test_values_count_and_not_what_their_class_shows():
    assert key(Whole(1)) == key(Whole(1)) != key(Whole(2))
    assert key({Word("a"): 1}) == key({Word("a"): 1}) != key({Word("b"): 1})


@pytest.fixture
def foreign_pack(monkeypatch):
    """A package with a module of settings, as node packs have them."""
    package, settings = types.ModuleType("their_pack"), types.ModuleType("their_pack.settings")
    package.settings, package.__path__ = settings, []
    settings.SCALE, settings.held = 1.0, types.SimpleNamespace(scale=1.0)
    monkeypatch.setitem(sys.modules, "their_pack", package)
    monkeypatch.setitem(sys.modules, "their_pack.settings", settings)
    monkeypatch.setenv("THEIR_SCALE", "1.0")
    return settings


def written(text: str, name="their_nodes", **space):
    space = {"__name__": name, **space}
    exec(text, space)
    return space["scale"]


class Reader:
    def __init__(self, module):
        self.module = module

    def __call__(self):
        return self.module.SCALE


@pytest.mark.parametrize(
    "make",
    [
        lambda _: written(
            "import their_pack.settings\ndef scale(): return their_pack.settings.SCALE"
        ),
        lambda _: written(
            "import their_pack.settings\ndef scale(): return their_pack.settings.held.scale"
        ),
        lambda _: written("def scale():\n import their_pack.settings as s\n return s.SCALE"),
        lambda _: written(
            "def scale():\n from ..settings import SCALE\n return SCALE",
            "their_pack.nodes.one",
            __package__="their_pack.nodes",
        ),
        lambda settings: lambda: settings.SCALE,
        Reader,
        lambda _: written("import os\ndef scale(): return float(os.environ['THEIR_SCALE'])"),
        lambda _: written(
            "from os import getenv\nNAME = 'THEIR_SCALE'\ndef scale(): return float(getenv(NAME, "
            "'1'))"
        ),
    ],
)
def test_settings_that_code_reads_elsewhere_count(foreign_pack, monkeypatch, make):
    scale = make(foreign_pack)
    before = key(scale), scale()
    assert (key(scale), scale()) == before
    foreign_pack.SCALE = foreign_pack.held.scale = 2.0
    monkeypatch.setenv("THEIR_SCALE", "2.0")
    assert scale() != before[1] and key(scale) != before[0]


def test_attributes_of_a_partial_count():
    def partial(scale):
        made = functools.partial(closing(1))
        made.scale = scale
        return made

    assert key(partial(1)) == key(partial(1)) != key(partial(2))


def test_functions_put_into_a_librarys_class_count(monkeypatch):
    norm, original = torch.nn.LayerNorm(4), torch.nn.LayerNorm.forward
    keys = [key(norm)]
    for factor in (0.9, 0.8):
        monkeypatch.setattr(
            torch.nn.LayerNorm, "forward", lambda self, x, by=factor: original(self, x) * by
        )
        keys.append(key(norm))
    assert len(set(keys)) == 3


COVERED = written("def scale(): return turn()", "covered", turn=None)


def test_a_function_put_into_a_covered_package_counts_with_what_it_holds():
    def of(factor):
        COVERED.__globals__["turn"] = closing(factor)
        return Description(covered=lambda module: module == "covered").add(COVERED).key

    assert of(1) == of(1) != of(2)


def test_what_torch_compile_notes_on_weights_and_modules_does_not_count():
    module = torch.nn.Linear(2, 2)
    before = key(module)
    module._dynamo_note = module.weight._dynamo_static_input_type = "unguarded"
    assert key(module) == before


def test_what_copying_notes_on_a_class_does_not_count():
    """Python writes `__slotnames__` on the class of the first object that is copied."""

    class Copied:
        pass

    thing = Copied()
    before = key(thing)
    copy.copy(thing)
    assert "__slotnames__" in vars(Copied) and key(thing) == before


# --- weights ------------------------------------------------------------------------------------


def sample(tensor) -> str:
    return (
        Description(lambda value: sampled_bytes(value) if isinstance(value, torch.Tensor) else None)
        .add(tensor)
        .key
    )


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
    assert (
        len({sample(weight), sample(weight.view(32, 128)), sample(weight.view(torch.int32))}) == 3
    )


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
    patched.patches = [
        ("a LoRA", "key")
    ]  # written as the loader patches; the patcher itself says which
    assert sample(patched) == sample(packed())


def test_quantised_wrappers_show_their_data_and_scales():
    tensors = pytest.importorskip("comfy_kitchen.tensor")

    def quantised(scale=1.0, first=0.0):
        data = torch.zeros(64, 64)
        data[0, 0] = first
        layout = tensors.TensorCoreFP8Layout
        params = layout.Params(
            scale=torch.tensor(scale), orig_dtype=torch.bfloat16, orig_shape=(64, 64)
        )
        return tensors.QuantizedTensor(data.to(torch.float8_e4m3fn), "TensorCoreFP8Layout", params)

    assert sample(quantised()) == sample(quantised())
    assert (
        len({sample(quantised()), sample(quantised(scale=2.0)), sample(quantised(first=1.0))}) == 3
    )


# --- packages -------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A node pack of one file, loaded; its files are older than the program."""
    folder = tmp_path / "identity_pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("def scale(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code_bytes, "_LOADED", time.time() + 3600)
    yield folder
    code_bytes._home.cache_clear()
    code_bytes._files.cache_clear()
    sys.modules.pop("identity_pack", None)


def key_of_package(folder) -> str:
    code_bytes._home.cache_clear()
    code_bytes._files.cache_clear()
    sys.modules.pop("identity_pack", None)
    importlib.invalidate_caches()
    return Description().add(importlib.import_module("identity_pack").scale).key


def test_a_packs_files_count(package):
    """Another file of the pack may decide numbers, though the function itself is the same."""
    first = key_of_package(package)
    assert key_of_package(package) == first
    (package / "tables.py").write_text("SCALE = 3\n")
    assert key_of_package(package) != first


def test_a_pack_that_changed_after_it_was_loaded_cannot_be_described(package, monkeypatch):
    monkeypatch.setattr(code_bytes, "_LOADED", time.time() - 3600)
    with pytest.raises(
        Indescribable, match="identity_pack changed on disk after it was loaded: restart ComfyUI"
    ):
        key_of_package(package)
