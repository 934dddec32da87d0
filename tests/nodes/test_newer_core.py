"""What a newer ComfyUI does to our nodes, done by the one at hand: fields, inputs, outputs nobody
has invented yet.
"""

from dataclasses import dataclass, field

import pytest
import torch

from ..comfyui.graphs import Graph


def region(comfyui) -> tuple[Graph, list]:
    """A graph of three nodes, the last of them ours, and the link to its mask."""
    graph = Graph()
    frames = graph.add("EmptyImage", width=64, height=32, batch_size=2, color=255)
    mask = graph.add("SolidMask", value=1.0, width=64, height=32)
    return graph, graph.add("SAMARegionMask", mask=mask, frames=frames, grow=0, feather=0)


def test_inputs_that_our_nodes_do_not_know_are_left_out(comfyui):
    """As a graph holds them that was saved with a newer pack or frontend."""
    graph, mask = region(comfyui)
    sigmas = graph.add("SAMASigmas", steps=4, shift=5.0, denoise=1.0)
    for node in graph.nodes.values():
        node["inputs"] |= {
            "invented_later": 1,
            "seed_mode": ["x"],
            "control_after_generate": "fixed",
        }
    result = comfyui.run(graph.nodes, keep=[mask[0], sigmas[0]]).check()
    assert torch.equal(result.values[mask[0]][0], torch.ones(2, 32, 64))
    assert result.values[sigmas[0]][0].shape == (5,)


def test_nodes_that_give_more_than_they_did_are_read_as_before(comfyui, monkeypatch):
    """As Get Video Components does, of 0.33: outputs are added behind the others."""
    import nodes

    solid = nodes.NODE_CLASS_MAPPINGS["SolidMask"]
    graph, mask = region(comfyui)
    before = comfyui.run(graph.nodes, keep=[mask[0]]).check().values[mask[0]][0]

    class GivesMore:
        RETURN_TYPES = ("MASK", "FLOAT", "INVENTED_LATER")
        FUNCTION, CATEGORY = "give", "mask"
        INPUT_TYPES = classmethod(lambda cls: solid.INPUT_TYPES())

        def give(self, value, width, height):
            return torch.full((1, height, width), value), 1.0, object()

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "SolidMask", GivesMore)
    assert torch.equal(comfyui.run(graph.nodes, keep=[mask[0]]).check().values[mask[0]][0], before)


def test_schemas_with_new_fields_describe_every_node(comfyui, pack, monkeypatch):
    """Of whatever default a newer ComfyUI gives them; ours are passed by name."""
    from comfy_api.latest import io

    @dataclass
    class LaterSchema(io.Schema):
        invented_later: str = "default"
        tags: list = field(default_factory=list)

    monkeypatch.setattr(io, "Schema", LaterSchema)
    for node_id in pack.node_ids:
        schema = comfyui.node_class(node_id).define_schema()
        schema.finalize()
        assert type(schema) is LaterSchema and schema.node_id == node_id
        assert schema.get_v1_info(comfyui.node_class(node_id)).name == node_id


@pytest.mark.parametrize("given", [{"invented_later": "x"}, {}])
def test_hidden_values_may_come_and_go(comfyui, monkeypatch, given):
    """A node that shows text in itself asks for its id alone; what else ComfyUI hides there is left
    alone.
    """
    from comfy_api.latest import _io

    told = []
    original = _io.HiddenHolder.from_dict.__func__

    def from_dict(cls, values):
        holder = original(cls, values)
        for name, value in given.items():
            setattr(holder, name, value)
        return holder

    monkeypatch.setattr(_io.HiddenHolder, "from_dict", classmethod(from_dict))
    monkeypatch.setattr(
        comfyui._server, "send_progress_text", lambda text, node_id, **_sid: told.append(node_id)
    )
    graph = Graph()
    frames = graph.add("EmptyImage", width=100, height=64, batch_size=2, color=255)
    source = graph.add(
        "SAMASourceVideo", images=frames, frames=5, start=0, stride=1, area=1024, fps=24.0
    )
    comfyui.run(graph.nodes, keep=[source[0]]).check()
    assert told == [source[0]]  # of the sides that the fit leaves unedited
