"""SAMA Drafts through the real executor: the sheet, the pick, and what is not drawn again."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ..comfyui.graphs import Edit, whole_edit

RED, BLUE = "make the circle red", "make the circle blue"


@pytest.fixture(autouse=True)
def nothing_kept(comfyui):
    from sama_core.comfyui.kept_drafts import KEPT, SHOWN, TEXTS

    for kept in (KEPT, SHOWN, TEXTS):
        kept.clear()


@pytest.fixture
def counted(monkeypatch, comfyui):
    """How often texts and sources were encoded, and the seeds that were really sampled."""
    from sama_core.comfyui import drafts, edit, kept_drafts

    calls = {"texts": [], "sources": 0, "samplings": 0}
    text, source = kept_drafts.encode_instruction, drafts.encode_source
    sample = edit.EditRun.sample

    def encode_text(clip, instruction, tag):
        calls["texts"].append(instruction)
        return text(clip, instruction, tag)

    def encode_source(*given):
        calls["sources"] += 1
        return source(*given)

    def count(*given):
        calls["samplings"] += 1
        return sample(*given)

    monkeypatch.setattr(kept_drafts, "encode_instruction", encode_text)
    for module in (drafts, edit):
        monkeypatch.setattr(module, "encode_source", encode_source)
    monkeypatch.setattr(edit.EditRun, "sample", count)
    return calls


def drafts(edit: Edit, **changes) -> list:
    """A SAMA Drafts node on the graph's parts: two euler steps, cfg 2."""
    settings = {
        "instructions": f"{RED}\n{BLUE}",
        "seeds": "1-2",
        "anchor_frames": "0",
        "steps": 2,
        "cfg": 2.0,
        "shift": 5.0,
        "sampler_name": "euler",
        "edit_tag": True,
        "tiling": "automatic",
    }
    parts = {"model": edit.model, "clip": edit.clip, "vae": edit.vae, "frames": edit.source}
    return edit.add("SAMADrafts", **parts, **{**settings, **changes})


def run(edit: Edit, link: list, **changes):
    """Run the graph with other inputs, as a second queueing does: (state, output values)."""
    edit.nodes[link[0]]["inputs"] |= changes
    result = edit.comfyui.run(edit.nodes, keep=[link[0]], warm=True).check()
    return result.outputs[link[0]]["sama_drafts"][0], result.values[link[0]]


def sent(result) -> list[dict]:
    """What the browser was told about the sheet, in order."""
    return [data for event, data in result.messages if event == "sama.drafts"]


def test_every_draft_is_on_the_sheet_and_drawn_as_it_comes(edit, counted):
    link = drafts(edit, anchor_frames="0, 4")
    result = edit.comfyui.run(edit.nodes, keep=[link[0]]).check()
    state = result.outputs[link[0]]["sama_drafts"][0]
    assert [(one["instruction"], one["frame"], one["seed"]) for one in state["drafts"]] == [
        (RED, 0, "1"),
        (RED, 0, "2"),
        (RED, 4, "1"),
        (RED, 4, "2"),
        (BLUE, 0, "1"),
        (BLUE, 0, "2"),
        (BLUE, 4, "1"),
        (BLUE, 4, "2"),
    ]
    begin, *shown, end = sent(result)
    assert end["state"] == state and state["stage"] == "done"
    assert begin["node"] == link[0] and set(begin["state"]["sources"]) == {"0", "4"}
    drawn = [[one["image"] is not None for one in now["state"]["drafts"]] for now in shown]
    assert drawn == [[at <= number for at in range(8)] for number in range(8)]
    sheet, pictures, instruction, seed = result.values[link[0]]
    # 4 bands of caption 26 + picture 192 + label 18 + gap 8; source and two seeds of 192.
    assert sheet.shape == (1, 8 + 4 * 244, 8 + 3 * 200, 3)
    assert pictures.shape == (8, 32, 32, 3)
    assert (instruction, seed) == (RED, 1)
    assert sheet[0, 34:226:6, 208:400:6].equal(pictures[0])
    for number, one in enumerate(state["drafts"]):
        file = edit.comfyui.base / "temp" / one["image"]["subfolder"] / one["image"]["filename"]
        with Image.open(file) as picture:
            written = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        assert written.view(32, 32, 3).equal((pictures[number] * 255).round().to(torch.uint8))
    assert counted == {"texts": [RED, BLUE], "sources": 2, "samplings": 8}


def test_a_draft_of_a_still_is_its_full_edit(edit):
    """One frame is the whole clip: the same pixels as SAMA Edit gives, but for their rounding."""
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 1
    link = drafts(edit, instructions=RED, seeds="7", steps=3, cfg=5.0)
    _, (_, pictures, _, _) = run(edit, link)
    full = edit.values(whole_edit(edit, seed=7))
    assert full.shape == pictures.shape == (1, 32, 32, 3)
    assert 0 <= float((full - pictures).min()) and float((full - pictures).max()) < 1 / 255


@pytest.mark.parametrize(("frame", "at"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_draft_starts_from_the_noise_of_the_full_edit(comfyui, frame, at):
    """The clip's own at that latent frame, and its semantic noise."""
    import comfy.sample

    from sama_core.comfyui.drafts import clip_noise_at
    from sama_core.geometry import ClipShape
    from sama_core.model.semantic import semantic_noise

    whole = ClipShape(9, 32, 32).latent()
    noise, seed = clip_noise_at(frame, whole, 11)
    full = comfy.sample.prepare_noise(torch.zeros(1, 16, 3, 4, 4), 11)
    assert noise.equal(full[:, :, at : at + 1])
    assert semantic_noise((6, 4), seed, noise).equal(semantic_noise((6, 4), 11, full))


def test_a_pick_gives_its_seed_and_words_and_draws_nothing(edit, counted):
    link = drafts(edit)
    before, (_, pictures, *_) = run(edit, link)
    assert counted["samplings"] == 4
    assert before["remark"] == (
        f"Nothing is picked: the outputs are the first draft's, seed 1, “{RED}”."
    )
    state, (sheet, again, instruction, seed) = run(edit, link, pick=f"2: {BLUE}")
    assert (instruction, seed) == (BLUE, 2)
    assert state["picked"] == f"2: {BLUE}" and state["remark"] == ""
    assert again.equal(pictures)
    assert counted == {"texts": [RED, BLUE], "sources": 1, "samplings": 4}
    assert state["costs"][0] == "4 drafts, 4 of them kept from before: nothing to draw."
    # The frame of the pick: 3 pixels around the last draft, the second seed of the second band.
    assert (sheet[0, 8 + 244 + 26 - 2, 408:600] * 255).round().eq(torch.tensor([240, 120, 0])).all()


def test_a_pick_that_is_gone_says_so(edit):
    _, (*_, instruction, seed) = found = run(edit, drafts(edit, seeds="5", pick="9: paint it"))
    assert (instruction, seed) == (RED, 5)
    assert found[0]["remark"] == (
        "The pick “9: paint it” is not on this sheet: the outputs are the first draft's, seed 5, "
        f"“{RED}”."
    )


@pytest.mark.parametrize(
    ("changes", "drawn"),
    [
        ({"seeds": "1-3"}, 2),
        ({"seeds": "2, 1"}, 0),
        ({"instructions": BLUE}, 0),
        ({"anchor_frames": "0, 4"}, 4),
        ({"steps": 3}, 4),
        ({"cfg": 1.0}, 4),
        ({"shift": 3.0}, 4),
        ({"sampler_name": "heun"}, 4),
        ({"edit_tag": False}, 4),
        ({"tiling": "reference tiles"}, 4),
    ],
)
def test_what_decides_a_draft_draws_it_anew_and_nothing_else_does(edit, counted, changes, drawn):
    link = drafts(edit)
    run(edit, link)
    counted["samplings"] = 0
    run(edit, link, **changes)
    assert counted["samplings"] == drawn


def test_another_clip_or_model_is_drawn_anew_and_the_same_again_is_not(edit, counted):
    """The clip's length decides its noise, so it counts although only frame 0 is drafted."""
    link = drafts(edit, instructions=RED, seeds="1")
    run(edit, link)
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 9
    run(edit, link)
    assert counted["samplings"] == 2
    patched = edit.add("ModelSamplingSD3", model=edit.model, shift=2.0)
    run(edit, link, model=patched)
    assert counted["samplings"] == 3
    run(edit, link, model=edit.model)
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 5
    run(edit, link)
    assert counted["samplings"] == 3


def test_lost_pictures_come_back_where_nothing_changed(edit, counted):
    """ComfyUI gives what it kept of the node; what follows it must not run again for that."""
    link = drafts(edit, instructions=RED, seeds="1-2")
    state, _ = run(edit, link)
    folder = edit.comfyui.base / "temp" / "sama_drafts"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shown = [*state["sources"].values(), *(one["image"] for one in state["drafts"])]
    assert {file["filename"] for file in shown} <= before.keys()
    shutil.rmtree(folder)
    result = edit.comfyui.run(edit.nodes, keep=[link[0]], warm=True).check()
    assert sent(result) == [] and counted["samplings"] == 2
    for file in shown:
        assert (folder / file["filename"]).read_bytes() == before[file["filename"]]


def test_an_interruption_keeps_what_is_drawn(edit, counted):
    """64 seeds, stopped in the third draft: two are shown, and are not drawn again."""
    link = drafts(edit, instructions=RED, seeds="1-64", steps=2, cfg=1.0)
    # The text, then for each draft source, two steps and decoding, and the steps' own calls.
    from sama_core.comfyui import edit as editing

    decode = editing.EditRun.decode

    def decode_and_stop(self, latent):
        import nodes

        frames = decode(self, latent)
        if counted["samplings"] == 3:
            nodes.interrupt_processing(True)
        return frames

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing.EditRun, "decode", decode_and_stop)
        result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert result.interrupted and not result.ok
    begin, *shown = sent(result)
    assert len(begin["state"]["drafts"]) == 64
    drawn = [sum(one["image"] is not None for one in now["state"]["drafts"]) for now in shown]
    assert drawn == [1, 2, 3]
    counted["samplings"] = 0
    state, _ = run(edit, link, seeds="1-4")
    assert counted["samplings"] == 1
    assert state["costs"][0].startswith("4 drafts, 3 of them kept from before")


def test_costs_of_drafts_and_of_the_full_edit(edit):
    state, _ = run(edit, drafts(edit, anchor_frames="4", pick=f"1: {RED}"))
    drawn, full = state["costs"]
    assert drawn.startswith("4 drafts") and ": took " in drawn and drawn.endswith(" each.")
    assert full.startswith("The full edit, 5 frames of 32x32, 2 steps, cfg 2: ")
    assert "the work of 1 drafts" in full or "the work of 2 drafts" in full
    (note,) = state["notes"]
    assert note.startswith("A draft of frame 0 shows what the full edit has there: ")


def test_what_is_left_out_is_said(edit):
    lines = f"{RED}\n\n  {RED} \n{BLUE}"
    state, _ = run(edit, drafts(edit, instructions=lines, seeds="2, 2", pick=f"2: {RED}"))
    assert [one["pick"] for one in state["drafts"]] == [f"2: {RED}", f"2: {BLUE}"]
    assert state["notes"] == [
        "An empty line was left out.",
        f"Lines that are given twice count once: “{RED}”.",
        "Seeds that are given twice count once: 2.",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": "1-65"}, "seeds: got 65 numbers, needs at most 64. Shorten the list."),
        ({"seeds": "1, two"}, "seeds: got “two”, needs a list such as 1, 5, 7-9."),
        ({"seeds": " "}, "seeds: got an empty list, needs a list such as 1, 5, 7-9."),
        ({"instructions": " \n\n"}, "instructions: got no line with a word"),
        ({"anchor_frames": "-1"}, "anchor_frames: got “-1”, needs a list"),
        (
            {"seeds": "1-64", "anchor_frames": "0-7"},
            "drafts: got 2 instructions x 64 seeds x 8 frames = 1024, needs at most 512.",
        ),
    ],
)
def test_lists_that_cannot_be_are_refused_before_the_run(edit, counted, changes, told):
    link = drafts(edit, **changes)
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert any(told in line for line in result.errors), result.errors
    assert counted["texts"] == []


def test_a_frame_that_the_clip_does_not_have_is_refused(edit, counted):
    link = drafts(edit, anchor_frames="5")
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert "anchor_frames: got 5, needs numbers of 0 to 4. Choose others." in result.errors[0]
    assert counted["texts"] == []


@pytest.mark.parametrize("sent", [None, "a text", [1], {}, {"workflow": "a text"}])
def test_a_client_may_send_any_workflow(pack, sent):
    hidden = SimpleNamespace(extra_pnginfo=sent)
    assert pack.module("nodes.drafts")._workflow_id(hidden) is None


def test_why_drafts_are_drawn_again_fits_into_the_node(edit):
    """A LoRA hook leads through half of ComfyUI to something that cannot be read."""
    weight = {"diffusion_model.blocks.0.self_attn.q.diff_b": torch.full((256,), 0.1)}
    save_file(weight, edit.comfyui.models("loras") / "hook.safetensors")
    hook = edit.add("CreateHookLoraModelOnly", lora_name="hook.safetensors", strength_model=1.0)
    edit.clip = edit.add(
        "SetClipHooks", clip=edit.clip, hooks=hook, apply_to_conds=True, schedule_clip=False
    )
    state, _ = run(edit, drafts(edit, instructions=RED, seeds="1"))
    (note,) = state["notes"]
    assert note.startswith("These drafts are drawn again in every run: a part of the model or of ")
    assert "reading" not in note and len(note) < 300, note


def test_messages_name_the_workflow_and_go_to_its_browser_alone(edit, monkeypatch):
    """Two tabs: the other one has a node with the same id."""
    import server

    from sama_core.comfyui.draft_board import DraftBoard
    from sama_core.drafts import ask

    told = []
    stand_in = SimpleNamespace(client_id="tab 1", send_sync=lambda *given: told.append(given))
    monkeypatch.setattr(server.PromptServer, "instance", stand_in)
    asked = ask(RED, "1", "0")
    board = DraftBoard("5:12", "workflow a", asked, asked.drafts[0])
    board.begin({}, [], [])
    ((event, data, client),) = told
    assert (event, client) == ("sama.drafts", "tab 1")
    assert (data["node"], data["workflow"]) == ("5:12", "workflow a")
    stand_in.client_id = None
    board.finish()
    assert len(told) == 1


def test_the_longest_unused_drafts_are_forgotten_first():
    from sama_core.comfyui.kept_drafts import KeptDrafts

    kept, picture = KeptDrafts(most=24), torch.zeros(2, 2, 3, dtype=torch.uint8)
    for key in ("a", "b"):
        kept.put(key, picture)
    assert kept.get("a") is not None
    kept.put("c", picture)
    kept.put(None, picture)
    assert [kept.get(key) is not None for key in ("a", "b", "c", None)] == [
        True,
        False,
        True,
        False,
    ]
