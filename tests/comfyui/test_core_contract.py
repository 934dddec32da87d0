"""The contract with ComfyUI on the tree at hand, and that it tells by name what a newer one would
do to us.
"""

import abc
import ast
import inspect
from pathlib import Path

import pytest

from ..harness import comfy_home, contract
from ..harness.core_lookup import attributes, check_calls, find_untaken
from ..harness.core_syntax import calls, function
from ..harness.core_uses import Use
from ..harness.core_words import check_words


@pytest.fixture(autouse=True)
def _fresh(comfyui):
    """ComfyUI is imported, and no class that another test changed is remembered."""
    attributes.cache_clear()
    yield
    attributes.cache_clear()


@pytest.fixture
def missing(_fresh):
    """A function that tells what is missing now and was not before."""
    before = set(contract.check().missing)
    attributes.cache_clear()
    return lambda: [line for line in contract.check().missing if line not in before]


def test_this_comfyui_has_all_we_use_and_takes_what_we_give(capsys):
    found = contract.check()
    with capsys.disabled():
        print(f"\n{found.text().splitlines()[0]}")
    if found.missing or found.unexplained:
        pytest.fail(found.text(), pytrace=False)
    assert min(found.counts.values()) > 5 and found.counts["symbols"] > 150, "it looked at little"


def test_lost_symbols_are_named_with_the_place_that_needs_them(missing, monkeypatch):
    import comfy.utils
    import folder_paths
    import server
    from comfy.patcher_extension import WrappersMP

    monkeypatch.delattr(comfy.utils, "load_torch_file")
    monkeypatch.delattr(folder_paths, "get_full_path_or_raise")
    monkeypatch.delattr(server.PromptServer, "send_progress_text")
    monkeypatch.delattr(WrappersMP, "OUTER_SAMPLE")
    monkeypatch.delattr(WrappersMP, "CALC_COND_BATCH")
    lost = {line.partition(" (")[0]: line for line in missing()}
    assert set(lost) == {
        "comfy.utils.load_torch_file",
        "folder_paths.get_full_path_or_raise",
        "comfy.patcher_extension.WrappersMP.OUTER_SAMPLE",
    }, "the two others are asked for first"
    assert "(sama_core/comfyui/" in lost["comfy.utils.load_torch_file"]


def test_lost_methods_and_attributes_of_objects_are_named(missing, monkeypatch):
    from comfy.context_windows import IndexListContextWindow
    from comfy.model_patcher import ModelPatcher

    monkeypatch.delattr(ModelPatcher, "set_attachments")
    monkeypatch.delattr(IndexListContextWindow, "get_tensor")
    lines = missing()
    assert any(
        line.startswith("comfy.model_patcher.ModelPatcher.set_attachments (sama_core/")
        for line in lines
    )
    assert any(
        "IndexListContextWindow.get_tensor(full" in line and "keyword argument 'dim'" in line
        for line in lines
    ), "its base's takes less"
    assert len(lines) == 3  # anchors.py and distilled.py attach


def test_calls_that_a_newer_comfyui_would_refuse_are_named(missing, monkeypatch):
    import comfy.sample
    import comfy.sd
    from comfy.utils import ProgressBar
    from comfy_api.latest import io

    monkeypatch.setattr(
        comfy.sd,
        "load_diffusion_model_state_dict",
        lambda sd, model_options={}, metadata=None: None,
    )
    monkeypatch.setattr(
        comfy.sample, "prepare_noise", lambda latent_image, seed, batch_inds, *, device: None
    )
    monkeypatch.setattr(ProgressBar, "update_absolute", lambda self, value, total=None: None)
    monkeypatch.setattr(
        io.Schema, "__init__", lambda self, node_id, display_name, category, inputs, outputs: None
    )
    lines = "\n".join(missing())
    assert "got an unexpected keyword argument 'disable_dynamic'" in lines
    assert "missing a required argument: 'batch_inds'" in lines
    assert "update_absolute" in lines and "got an unexpected keyword argument 'preview'" in lines
    assert "io.Schema(" in lines and "as called in nodes/load.py:" in lines


def test_parameters_that_our_methods_would_not_take_are_named(missing, monkeypatch):
    """Ours take any keyword, as `save_to(color_space=…)` was not: but the places of what they know
    must agree.
    """
    import comfy.samplers
    from comfy.model_base import BaseModel

    monkeypatch.setattr(
        comfy.samplers.CFGGuider,
        "outer_sample",
        lambda self, noise, sigmas, latent_image, newest=1: None,
    )
    monkeypatch.setattr(
        BaseModel,
        "resize_cond_for_context_window",
        lambda self, cond_key, cond_value, window, x_in, device, retain_index_list, newest=None: (
            None
        ),
    )
    lines = "\n".join(missing())
    assert (
        "outer_sample (sama_core/comfyui/joint_state.py) has 'sigmas' in another place than "
        "comfy.samplers" in lines
    )
    assert "has no parameter" not in lines, "ours take any keyword"


CLOSED = (
    "def closed(self, model, x):\n    ...\n\ndef open_(self, model, x, *args, **kwargs):\n    ...\n"
)


@pytest.mark.parametrize(
    ("name", "told"),
    [("closed", ["closed (ours.py) has no parameter 'newest' of core.f"]), ("open_", [])],
)
def test_a_closed_signature_is_named_and_an_open_one_is_not(tmp_path, name, told):
    (tmp_path / "ours.py").write_text(CLOSED)
    ours = function(tmp_path / "ours.py", name)
    lines = find_untaken(name, ours, "core.f", lambda self, model, x, newest=None: None, "ours.py")
    assert [line.partition("(self")[0] for line in lines] == told


@pytest.mark.parametrize(
    ("core", "name", "told"),
    [
        ("self.f(a, b, newest=1)", "open_", ""),
        ("self.f(a)", "closed", "closed needs x, which core.py does not give"),
        ("self.f(*a, newest=1)", "closed", "closed has no parameter 'newest', which core.py gives"),
        ("f(1, 2, 3)", "closed", "closed takes 2 arguments by position, core.py gives 3"),
    ],
)
def test_calls_of_ours_that_we_would_not_take_are_named(tmp_path, core, name, told):
    (tmp_path / "ours.py").write_text(CLOSED)
    seen = calls(ast.parse(core), ".f" if "." in core.partition("(")[0] else "f")
    lines = list(check_calls(name, function(tmp_path / "ours.py", name), seen, "core.py"))
    assert len(seen) == 1 and lines == ([told] if told else [])


def test_methods_that_a_newer_comfyui_would_demand_are_named(missing, monkeypatch):
    from comfy_api.latest import Input

    monkeypatch.setattr(
        Input.Video, "get_gain_map", abc.abstractmethod(lambda self: None), raising=False
    )
    abc.update_abstractmethods(Input.Video)
    try:
        assert any(
            "RestoredVideo.get_gain_map" in line and "demands it" in line for line in missing()
        )
    finally:
        monkeypatch.undo()
        abc.update_abstractmethods(Input.Video)
    assert (
        not inspect.isabstract(Input.Video) or "get_gain_map" not in Input.Video.__abstractmethods__
    )


def test_lost_keys_options_routes_and_nodes_are_named(tmp_path):
    """Of a tree that has none of these."""
    (tmp_path / "comfy").mkdir()
    for name in ("main.py", "nodes.py", "server.py", "comfy/samplers.py", "comfy/cli_args.py"):
        (tmp_path / name).touch()
    found = contract.Contract()
    check_words(found, tmp_path, [])
    for line in (
        "the word 'sampler_post_cfg_function' in comfy/samplers.py",
        "the route /upload/image in server.py",
        "the word '--base-directory' in comfy/cli_args.py",
        "the node SaveVideo, of a workflow",
    ):
        assert line in found.missing


def test_what_the_tables_do_not_explain_is_named(tmp_path, monkeypatch):
    """A new use of ComfyUI in our code needs its line in the tables, or is checked by itself."""
    file = contract.ROOT / "sama_core" / "comfyui" / "new.py"
    source = (
        "import comfy.utils\nimport folder_paths as places\n\n"
        "def use(guider, thing):\n"
        "    comfy.utils.invented(1)\n    places.get_folder_paths('vae', newest=True)\n"
        "    guider.model_patcher.invented()\n    thing.never_heard_of\n"
        "    perhaps = getattr(guider, 'perhaps', None)\n"
        "    return perhaps, guider.model_options['never_given'], {}.get('ours')\n"
    )
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, **how: source if self == file else read(self, **how)
    )
    found = contract.check([file])
    lines = [line for line in found.missing if "new.py" in line]
    assert [line.partition("(")[0].strip() for line in lines] == [
        "comfy.utils.invented",
        "folder_paths.get_folder_paths",
        "comfy.model_patcher.ModelPatcher.invented",
    ]
    assert "newest" in lines[1]
    assert found.unexplained == ["thing.never_heard_of (sama_core/comfyui/new.py:8)"]
    monkeypatch.setattr(contract, "LIBRARY", [*contract.LIBRARY, file])
    assert contract.check().unexplained == [*found.unexplained, "the key 'never_given'"]


def test_functions_that_only_the_tables_know_are_named(monkeypatch):
    gone = (
        ("sama_core/comfyui/joint_state.py", "gone"),
        ("sama_core/comfyui/gone.py", "outer_sample"),
    )
    for key in gone:
        monkeypatch.setitem(
            contract.STAND_INS, key, ("comfy.samplers.CFGGuider.outer_sample", 1, True)
        )
    assert contract.check().unexplained == [
        f"{name} in {file}, which a table names and our code has not" for file, name in gone
    ]


@pytest.mark.parametrize(
    ("owner", "where", "expected"),
    [
        ("guider.model_patcher", "x/y.py:1", "comfy.model_patcher.ModelPatcher"),
        ("guider.model_patcher.model", "x/y.py:1", "comfy.model_base.BaseModel"),
        ("found", "sama_core/comfyui/plan.py:3", "comfy.model_management.LoadedModel"),
        ("found", "nodes/plan.py:3", None),
        ("self.model", "x/y.py:1", None),
    ],
)
def test_objects_are_told_by_how_the_code_calls_them(owner, where, expected):
    assert contract.class_of(Use(owner, "name", where, symbol=False)) == expected


def test_another_environment_than_the_trees_is_refused(monkeypatch):
    """Kernels of another version end in many errors; another frontend is named in the report."""

    class Pinning(comfy_home.ComfyUI):
        def requirements(self):
            return "comfyui-frontend-package==0.1\ncomfy-kitchen==0.1\nnumpy>=1.25\n"

    tree = Pinning(comfy_home.comfy_source().folder, fetched=True)
    monkeypatch.setattr(comfy_home, "find_here", lambda: tree)
    with pytest.raises(
        pytest.exit.Exception,
        match=r"comfy-kitchen \S+ where it pins 0.1. `python3 run.py test --com",
    ):
        comfy_home.comfy_source()
    assert (
        "comfyui-frontend-package" in comfy_home.describe_comfyui()
        and "where it pins 0.1" in comfy_home.describe_comfyui()
    )
