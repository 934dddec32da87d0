"""The film of a sampling: all latent frames of a step, beside ComfyUI's own preview."""

import base64
import io

import pytest
from PIL import Image

from .graphs import whole_edit


@pytest.fixture
def browser(comfyui, monkeypatch):
    """A browser that understands newer previews has asked for the runs."""
    from ..harness.executor import CLIENT_ID

    flags = {CLIENT_ID: {"feature_flags": {"supports_preview_metadata": True}}}
    monkeypatch.setattr(comfyui._server, "sockets_metadata", flags, raising=False)


@pytest.fixture
def slow_steps(monkeypatch):
    """A film for each step, however fast it is."""
    from sama_core.comfyui import film

    monkeypatch.setattr(film, "_APART", 0)


def films(edit, link: list, **options) -> list[dict]:
    """The films that a run sent, in order."""
    result = edit.comfyui.run(edit.nodes, keep=[link[0]], **options).check()
    return [data for event, data in result.messages if event == "sama.film"]


@pytest.mark.parametrize("node", ["ksampler", "SAMA Edit"])
def test_every_step_of_any_sampler_is_a_film(edit, browser, slow_steps, node):
    """Five frames are two latent frames; each is a JPEG of its own, for the node that samples."""
    link = edit.ksampler() if node == "ksampler" else whole_edit(edit, steps=3)
    sent = films(edit, link)
    assert [(film["node"], film["rate"], len(film["frames"])) for film in sent] == [
        (link[0], 4, 2)
    ] * 3
    for data in sent[-1]["frames"]:
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (picture.format, picture.size) == ("JPEG", (320, 320))


def test_a_callback_with_a_variable_that_has_no_value_yet_is_no_obstacle(comfyui):
    """Other packs' callbacks may have such: the sampling goes on with what ComfyUI gives."""
    import comfy.latent_formats
    import latent_preview

    from sama_core.comfyui.film import _previewer_of

    def theirs(later):
        return lambda step, x0, x, total: later

    callback = theirs(None)
    del callback.__closure__[0].cell_contents
    found = _previewer_of(callback, "cpu", comfy.latent_formats.Wan21())
    given = latent_preview.get_previewer("cpu", comfy.latent_formats.Wan21())
    assert type(found) is type(given)


def test_films_of_fast_steps_are_half_a_second_apart(edit, browser, monkeypatch):
    from types import SimpleNamespace

    from sama_core.comfyui import film

    seconds = iter([10.0, 10.4, 10.6])
    monkeypatch.setattr(film, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    assert len(films(edit, edit.ksampler())) == 2


def test_comfyui_s_setting_and_other_previews_are_respected(edit, browser, slow_steps, monkeypatch):
    """None means none; a pack that puts its own previewer there shows its own film."""
    import latent_preview

    assert films(edit, edit.ksampler(), preview="none") == []

    class Theirs(latent_preview.Latent2RGBPreviewer):
        def decode_latent_to_preview_image(self, preview_format, x0):
            return None

    def theirs(device, latent_format):
        return Theirs(latent_format.latent_rgb_factors)

    monkeypatch.setattr(latent_preview, "get_previewer", theirs)
    assert films(edit, edit.ksampler()) == []


@pytest.mark.parametrize("node", ["ksampler", "SAMA Edit"])
def test_the_previewer_is_asked_for_once(edit, browser, slow_steps, monkeypatch, node):
    """One that decodes loads its decoder from disk each time."""
    import latent_preview

    asked, get = [], latent_preview.get_previewer

    def count(*given):
        asked.append(given)
        return get(*given)

    monkeypatch.setattr(latent_preview, "get_previewer", count)
    link = edit.ksampler() if node == "ksampler" else whole_edit(edit, steps=3)
    assert len(films(edit, link)) == 3 and len(asked) == 1


def test_nothing_is_sent_to_other_clients(edit, slow_steps):
    """A client of the API that knows only ComfyUI's own messages gets no others."""
    assert films(edit, edit.ksampler()) == []


def test_one_frame_is_no_film(edit, browser, slow_steps):
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 1
    assert films(edit, edit.ksampler()) == []
