"""The help pages in web/docs: one for each node, saying what its schema and the code say."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from sama_core.geometry import WAN_21, pad_frame_count
from sama_core.long.segments import plan_segments
from sama_core.released_files import DISTILLED_CFG, DISTILLED_STEPS, SAMA_14B, SAMA_SHAPES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BEYOND_COUNTING = 2**53  # a seed's maximum: the page need not name it
SECTIONS = ("Connects to", "Inputs", "Outputs", "When it goes wrong", "Tip")
TABLES = SECTIONS[:-1]
OF_THE_DISK = {"folder"}  # inputs whose choices are folders that are there

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


# --- reading a page ----------------------------------------------------------------------------


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def bold(text: str) -> list[str]:
    return re.findall(r"\*\*([^*]+)\*\*", text)


def sections(page: Path) -> dict[str, str]:
    """Text by heading, in order; what stands before the first heading is under ""."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def table(text: str) -> list[list[str]]:
    """Rows of the only table in `text`, without its head; all rows are as wide as the head."""
    lines = text.splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith("|")]
    assert places == list(range(places[0], places[-1] + 1)), (
        "lines inside the table that are no rows"
    )
    rows = [[cell.strip() for cell in lines[place].strip("|").split("|")] for place in places]
    assert len(rows) > 2 and set("".join(rows[1])) == {"-"}, "no table with a head and a row"
    assert {len(row) for row in rows} == {len(rows[0])}, (
        "rows of different widths; is a | in a cell?"
    )
    return rows[2:]


def names(rows: list[list[str]]) -> list[str]:
    return [row[0].strip("`") for row in rows]


# --- what the node says ------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What an input's row in the table has to say."""

    values: list[str]
    """Minimum and maximum, the fixed choices, or a socket's type; empty if any value is valid."""
    default: str
    advanced: bool


def said_of(given) -> Said:
    """The row of a schema's input."""
    if not hasattr(given, "default"):
        return Said(
            [given.get_io_type()],
            "optional" if given.optional else "required",
            bool(given.advanced),
        )
    if getattr(given, "options", None) is not None:
        named = given.id not in OF_THE_DISK
        # The others are files.
        fixed = [option for option in given.options if named and "." not in option]
        return Said(
            fixed, "first file" if given.default is None else given.default, bool(given.advanced)
        )
    limits = [getattr(given, limit, None) for limit in ("min", "max")]
    named = [number(limit) for limit in limits if limit is not None and limit < BEYOND_COUNTING]
    return Said(named, shown(given.default), bool(given.advanced))


def shown(default) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return default or "empty" if isinstance(default, str) else number(default)


def number(value) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def values_in(cell: str, given) -> list[str]:
    """What the `values` cell of an input's row states, in the form of `Said.values`."""
    if not hasattr(given, "default"):
        return [cell]
    if getattr(given, "options", None) is not None:
        return [span for span in code_spans(cell) if not span.startswith("models/")]
    return re.findall(r"-?\d+(?:\.\d+)?", cell)


def output_names(schema) -> list[str]:
    return [output.display_name or output.io_type for output in schema.outputs]


@pytest.fixture(scope="module")
def schema_of(comfyui, pack):
    return lambda page: comfyui.node_class(page.stem).define_schema()


@pytest.fixture(scope="module")
def nodes_by_title(comfyui, pack):
    """Ids of every registered node, by the title an artist reads."""
    import nodes

    return {
        nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node_id) or node_id: node_id
        for node_id in nodes.NODE_CLASS_MAPPINGS
    }


# --- the tests ---------------------------------------------------------------------------------


def test_every_node_has_a_page_and_every_page_a_node(pack):
    assert tuple(page.stem for page in PAGES) == pack.node_ids


@each_page
def test_page_lies_where_the_front_end_fetches_it(page, comfyui, pack):
    """The frontend fetches /extensions/<pack folder>/docs/<node id>.md from WEB_DIRECTORY."""
    import nodes

    folder = comfyui.object_info(page.stem)["python_module"].removeprefix("custom_nodes.")
    served = Path(nodes.EXTENSION_WEB_DIRS[folder])
    assert served.samefile(ROOT / pack.module().WEB_DIRECTORY)
    assert (served / "docs" / f"{page.stem}.md").samefile(page)


@each_page
def test_page_has_a_purpose_the_sections_and_a_readable_length(page):
    found = sections(page)
    assert tuple(found)[1:] == SECTIONS
    assert all(text.strip() for text in found.values())
    assert 25 <= len(page.read_text(encoding="utf-8").splitlines()) <= 60


@each_page
def test_tables_are_whole_and_have_no_row_twice(page):
    """In the browser a line that is no row ends the table: the rows after it become plain text."""
    for heading, text in sections(page).items():
        lines = text.splitlines()
        rows = [number for number, line in enumerate(lines) if line.startswith("|")]
        if heading in TABLES:
            assert [
                lines[number] for number in range(rows[0], rows[-1]) if number not in rows
            ] == [], heading
            first = [row[0] for row in table(text)]
            assert [cell for cell in first if first.count(cell) > 1] == [], heading
        assert not re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE), "what a merge left behind"


@each_page
def test_page_shows_no_pictures_and_names_no_hosts(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"!\[|<img|<video|://|www\.|\]\(", text)


@each_page
def test_inputs_are_the_schemas_with_their_limits_and_defaults(page, schema_of):
    rows, inputs = table(sections(page)["Inputs"]), schema_of(page).inputs
    assert names(rows) == [given.id for given in inputs]
    for (name, effect, default, values), given in zip(rows, inputs, strict=True):
        said = said_of(given)
        assert default.strip("`") == said.default, f"default of {name}"
        assert effect.endswith("*advanced*") == said.advanced, f"{name}: the mark *advanced*"
        many = len(said.values) > 6  # samplers: the page need not list them
        assert values_in(values, given) == ([] if many else said.values), f"values of {name}"


OWN_SETTINGS = {
    model.name: {"steps": model.steps, "cfg": model.cfg} for model in (SAMA_14B, SAMA_SHAPES)
}
DISTILLED = {"steps": DISTILLED_STEPS, "cfg": DISTILLED_CFG}


@each_page
def test_each_models_own_steps_and_cfg_are_the_codes(page):
    """The rows of `steps` and `cfg` name the values of both models, where a node has both."""
    effects = {row[0].strip("`"): row[1] for row in table(sections(page)["Inputs"])}
    if not effects.keys() >= {"steps", "cfg"}:
        assert "SAMA-Shapes:" not in " ".join(effects.values())
        return
    for name in ("steps", "cfg"):
        said = dict(re.findall(r"(SAMA-\w+): (\d+(?:\.\d+)?)", effects[name]))
        assert said == {model: f"{own[name]:g}" for model, own in OWN_SETTINGS.items()}, name


@pytest.mark.parametrize(
    "node", ["SAMAPlan", "SAMAEdit", "SAMALongEdit", "SAMAAnchorPreview", "SAMADrafts"]
)
def test_tooltips_name_each_models_own_steps_and_cfg(comfyui, pack, node):
    inputs = {one.id: one for one in comfyui.node_class(node).define_schema().inputs}
    for name in ("steps", "cfg"):
        tooltip, default = inputs[name].tooltip, inputs[name].default
        assert default == {"steps": 0, "cfg": -1}[name]
        assert f"Default {default:g}, the model's own: " in tooltip
        said = dict(re.findall(r"(\d+(?:\.\d+)?) for (SAMA-\w+)", tooltip))
        assert said == {f"{own[name]:g}": model for model, own in OWN_SETTINGS.items()}
        distilled = f"{DISTILLED[name]:g}"
        if node == "SAMAPlan":  # its 0 and -1 are the model's own, whatever LoRA the edit will have
            assert f"step-distilled LoRA, which a plan does not see, set {distilled}." in tooltip
        else:
            assert f" {distilled} with a step-distilled LoRA" in tooltip


def test_the_disk_that_latents_take_is_what_the_segments_add_up_to():
    """Of a minute of 832x480, in float32."""
    page = (DOCS / "SAMAEditWholeVideo.md").read_text(encoding="utf-8")
    said, fps = map(int, re.findall(r"(\d+) MB of latents for .* at (\d+) frames", page)[0])
    frames = pad_frame_count(60 * fps)
    segments = plan_segments(WAN_21.latents_of(frames), WAN_21.latents_of(81), 16 // 4)
    values = WAN_21.channels * (832 // 8) * (480 // 8) * sum(part.latents for part in segments)
    assert said == pytest.approx(4 * values / 1e6, rel=0.05)


@each_page
def test_outputs_are_the_schemas(page, schema_of):
    rows, schema = table(sections(page)["Outputs"]), schema_of(page)
    assert names(rows) == output_names(schema)
    assert [row[1] for row in rows] == [output.io_type for output in schema.outputs]


@each_page
def test_nodes_in_bold_exist(page, nodes_by_title):
    assert [
        title for title in bold(page.read_text(encoding="utf-8")) if title not in nodes_by_title
    ] == []


@each_page
def test_names_in_code_belong_to_this_node_or_to_one_named_beside_them(
    page, comfyui, schema_of, nodes_by_title
):
    own = _names_of(comfyui, page.stem) | set(output_names(schema_of(page)))
    strangers = []
    for line in page.read_text(encoding="utf-8").splitlines():
        beside = [nodes_by_title[title] for title in bold(line) if title in nodes_by_title]
        known = own.union(*(_names_of(comfyui, node_id) for node_id in beside))
        strangers += [
            span
            for span in code_spans(line)
            if re.fullmatch(r"[a-z][a-z0-9_]*", span) and span not in known
        ]
    assert strangers == []


def _names_of(comfyui, node_id: str) -> set[str]:
    """Inputs, outputs and choices of a node."""
    info = comfyui.object_info(node_id)
    return set(info["output_name"]) | _names_in(info["input"])


def _names_in(inputs: dict) -> set[str]:
    """Inputs and choices, those behind the choices of a dynamic combo too."""
    found = set()
    for group in ("required", "optional"):
        for name, (_, *settings) in inputs.get(group, {}).items():
            found.add(name)
            for choice in settings[0].get("options", []) if settings else []:
                if isinstance(choice, str):
                    found.add(choice)
                elif isinstance(choice, dict):
                    found |= {choice["key"], *_names_in(choice["inputs"])}
    return found


@each_page
def test_quoted_errors_are_what_the_code_says(page):
    quotes = [
        quote
        for row in table(sections(page)["When it goes wrong"])
        for quote in code_spans(row[0])
        if not re.fullmatch(r"[a-z_]+", quote)
    ]
    assert [quote for quote in quotes if quote not in _texts()] == []


@cache
def _texts() -> str:
    """Every text in the pack's code but docstrings; f-strings in pieces."""
    found = []
    for file in [*(ROOT / "nodes").glob("*.py"), *(ROOT / "sama_core").rglob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ]
    return "\n".join(found)


@each_page
def test_the_node_explains_itself_without_the_page(page, schema_of):
    schema = schema_of(page)
    assert schema.node_id == page.stem and schema.node_id.startswith("SAMA")
    assert schema.category.split("/")[0] == "SAMA"
    assert "SAMA" in schema.display_name
    assert schema.description.strip() and schema.search_aliases
    assert [given.id for given in schema.inputs if not (given.tooltip or "").strip()] == []
    assert [output.io_type for output in schema.outputs if not (output.tooltip or "").strip()] == []
