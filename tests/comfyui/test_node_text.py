"""What goes wrong in a run without stopping it is told on the node that samples, and taken away
when it is cured.
"""

import pytest

from ..harness.executor import CLIENT_ID
from .graphs import output, whole_edit
from .test_semantics_carried import advanced, lose


@pytest.fixture(autouse=True)
def nothing_told_before(comfyui, monkeypatch):
    """Graphs of other tests have the same node ids."""
    from sama_core.comfyui import node_progress

    monkeypatch.setattr(node_progress, "_with_remarks", {})


def shown(result, node_id: str) -> list[str]:
    """The texts that a node got, in order. A message is the id's length, the id, the text."""
    texts = []
    for _event, data in result.messages:
        if isinstance(data, bytes):
            size = int.from_bytes(data[:4], "big")
            if data[4 : 4 + size].decode() == node_id:
                texts.append(data[4 + size :].decode())
    return texts


def run(edit, link) -> list[str]:
    """What the node shows of its own run."""
    return shown(edit.comfyui.run(edit.nodes, keep=[link[0]]).check(), link[0])


def without_source(edit) -> dict:
    prompts = edit.add("SAMAInstruction", clip=edit.clip, instruction="a red circle", edit_tag=True)
    return {"positive": prompts, "negative": output(prompts, 1)}


def lost(edit) -> list:
    return advanced(
        edit, lose(edit, advanced(edit, edit.latent, 0, 2, True, True)), 2, 4, False, False
    )


def area(edit) -> list:
    return edit.add(
        "ConditioningSetArea",
        conditioning=edit.positive,
        width=64,
        height=64,
        x=0,
        y=0,
        strength=1.0,
    )


CASES = {
    "lost tokens": (lost, "carries no semantic tokens, so they restart"),
    "never had them": (
        lambda edit: edit.ksampler(latent_image=edit.source_latent, denoise=0.5),
        "starts below full noise",
    ),
    "no source": (lambda edit: edit.ksampler(**without_source(edit)), "holds no source video"),
    "an area": (lambda edit: edit.ksampler(positive=area(edit)), "a conditioning area was ignored"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_on_core_s_sampler(edit, case):
    build, words = CASES[case]
    link = build(edit)
    texts = run(edit, link)
    assert len(texts) == 1 and words in texts[0]
    assert texts[0].startswith("SAMA: ")


def test_several_things_are_told_together_and_with_a_guider(edit):
    """One line each, on the node that samples and on no other."""
    edit.positive, edit.negative = without_source(edit).values()
    link = edit.custom(
        edit.add("SAMASigmas", steps=2, shift=5.0, denoise=0.5), latent=edit.source_latent
    )
    result = edit.comfyui.run(edit.nodes, keep=[link[0]]).check()
    first, second = shown(result, link[0])[0].splitlines()
    assert "starts below full noise" in first and "holds no source video" in second
    assert not any(
        "source video" in text
        for node in edit.nodes
        if node != link[0]
        for text in shown(result, node)
    )


def test_a_cured_run_takes_the_words_away(edit):
    """The same node, queued again with a source: its text is blanked once, and then nothing more is
    sent.

    An empty text would not do: the frontend passes over it.
    """
    link = edit.ksampler(**without_source(edit))
    assert len(run(edit, link)) == 1
    edit.nodes[link[0]]["inputs"] |= {"positive": edit.positive, "negative": edit.negative}
    assert run(edit, link) == [" "]
    assert run(edit, link) == []


def test_the_page_is_told_which_texts_are_remarks(edit):
    """Newer frontends take all texts out when a run ends; `web/nodes/remarks.js` keeps these."""
    link = edit.ksampler(**without_source(edit))

    def told() -> list[str]:
        messages = edit.comfyui.run(edit.nodes, keep=[link[0]]).check().messages
        remarks = [data for event, data in messages if event == "sama.remarks"]
        return [data["text"] for data in remarks if data["node"] == link[0]]

    (remark,) = told()
    assert "holds no source video" in remark
    edit.nodes[link[0]]["inputs"] |= {"positive": edit.positive, "negative": edit.negative}
    assert told() == [""]
    assert told() == []


def test_texts_and_remarks_go_to_the_browser_that_queued_the_run(edit, monkeypatch):
    """Another browser may show a workflow with a node of the same id."""
    from protocol import BinaryEventTypes

    server, told = edit.comfyui._server, []
    send = server.send_sync

    def record(event, data, sid=None):
        told.append((event, sid))
        send(event, data, sid)

    monkeypatch.setattr(server, "send_sync", record)
    assert len(run(edit, edit.ksampler(**without_source(edit)))) == 1
    for event in ("sama.remarks", BinaryEventTypes.TEXT):
        assert {sid for sent, sid in told if sent == event} == {CLIENT_ID}


def test_a_run_without_fault_sends_nothing(edit):
    assert run(edit, edit.ksampler()) == []


def test_advice_on_distilled_loras_is_on_core_s_node_too(edit):
    from .test_distilled import GUIDES_TWICE, LIGHTX2V
    from .test_non_finite import lora_file

    lora_file(edit.comfyui, LIGHTX2V, 1.0)
    edit.patch("SAMALoadLora", lora_name=LIGHTX2V, strength=0.01)
    assert run(edit, edit.ksampler()) == [
        f"SAMA: {LIGHTX2V} has the guidance inside, and {GUIDES_TWICE}."
    ]


def test_without_a_server_or_an_executor_sampling_goes_on(edit, monkeypatch):
    """Scripts sample without either; the log still has it."""
    import sys

    from sama_core.comfyui import node_progress

    assert node_progress.show("SAMA: x") is False
    node_progress.show_remarks(["SAMA: x"])
    monkeypatch.setitem(sys.modules, "server", None)
    assert edit.sample(**without_source(edit))["video"].isfinite().all()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "comfy_execution.utils", None)
        assert node_progress.show("SAMA: x") is False


def test_ours_shows_its_stages_through_the_same_place_until_it_ends(edit):
    """Then none of them stands in the node as if it were still at work."""
    link = whole_edit(edit, steps=1)
    texts = run(edit, link)
    assert texts[0] == "SAMA: reading the instruction"
    assert texts[-2:] == ["SAMA: decoding", " "]


def long(edit) -> list:
    """SAMA Long Edit in the place of SAMA Edit."""
    link = whole_edit(edit, steps=1)
    edit.nodes[link[0]]["class_type"] = "SAMALongEdit"
    edit.nodes[link[0]]["inputs"] |= {
        "segment_frames": 9,
        "overlap_frames": 4,
        "anchor_colours": False,
        "keep_segments": False,
    }
    return link


def anchors(edit) -> list:
    """SAMA Anchor Preview in the place of SAMA Edit."""
    link = whole_edit(edit, steps=1)
    edit.nodes[link[0]]["class_type"] = "SAMAAnchorPreview"
    edit.nodes[link[0]]["inputs"] |= {"anchors": 1, "first_frame": 0}
    return link


@pytest.mark.parametrize(
    "build, last",
    [
        (long, "SAMA: decoding"),
        (anchors, "SAMA: decoding"),
        (lambda edit: edit.model, "SAMA: loading weights, 2 of 2 blocks"),
    ],
    ids=["long edit", "anchors", "loader"],
)
def test_the_last_stage_leaves_the_node(edit, build, last):
    assert run(edit, build(edit))[-2:] == [last, " "]


def test_stages_leave_the_node_when_the_run_is_interrupted_or_fails(edit, monkeypatch):
    from sama_core.comfyui import edit as whole

    link = whole_edit(edit, steps=20)
    edit.comfyui.interrupt_after(16)  # how many calls come before the first step depends on time
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert result.interrupted
    texts = shown(result, link[0])
    assert texts[-2].startswith("SAMA: sampling, step ") and texts[-1] == " "

    def fail(*_arguments):
        raise RuntimeError("simulated")

    monkeypatch.setattr(whole, "decode_latent", fail)
    edit.nodes[link[0]]["inputs"]["steps"] = 1
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert "simulated" in result.errors[0]
    assert shown(result, link[0])[-2:] == ["SAMA: decoding", " "]


def test_a_remark_stays_when_the_stages_have_gone(edit):
    """The run's own remark, not that of an earlier one."""
    from .test_distilled import GUIDES_TWICE, LIGHTX2V
    from .test_non_finite import lora_file

    lora_file(edit.comfyui, LIGHTX2V, 1.0)
    edit.patch("SAMALoadLora", lora_name=LIGHTX2V, strength=0.01)
    link = whole_edit(edit, steps=2, cfg=5.0)
    texts = run(edit, link)
    assert texts[-2].endswith("decoding")
    assert texts[-1] == f"SAMA: {LIGHTX2V} has the guidance inside, and {GUIDES_TWICE}."
    edit.nodes[link[0]]["inputs"]["cfg"] = 1.0
    assert run(edit, link)[-1] == " "
