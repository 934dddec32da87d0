"""The harness itself, with nodes of ComfyUI's own."""

from PIL import Image

GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 0xFF0000},
    },
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "canvas"}},
}


def test_core_graph_on_the_canvas(canvas, comfy_server):
    canvas.open_api(GRAPH, "core")
    workflow = canvas.workflow()
    canvas.open_workflow(workflow)

    assert {node["type"] for node in workflow["nodes"]} == {
        "EmptyImage",
        "ImageInvert",
        "SaveImage",
    }
    assert {key: node["inputs"] for key, node in canvas.prompt().items()} == {
        key: node["inputs"] for key, node in GRAPH.items()
    }

    entry = canvas.queue_and_wait()

    saved = entry["outputs"]["9"]["images"][0]["filename"]
    image = Image.open(comfy_server.base / "output" / saved)
    assert (image.size, image.getpixel((0, 0))) == ((64, 32), (0, 255, 255))
    assert canvas.page.evaluate("() => app.nodeOutputs['9'].images[0].filename") == saved
    canvas.page.wait_for_function("() => app.graph.getNodeById('9').imgs?.[0]?.naturalWidth === 64")
    assert canvas.errors == []
