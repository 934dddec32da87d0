"""What is hidden in a node of ours is not hidden in a node of another graph with the same id."""

from ..harness.page_scripts import run_script

OPEN = """
const running = (id, state) => ({ nodes: { [id]: { state } } });
const edit = () => new Graph("one", makeNode(5, "SAMAEdit"));
open(edit());
await load("nodes/after_run.js");
await load("nodes/sheet_after_preview.js");
const [node] = app.rootGraph.nodes;
node.samaGivesWay = true;
api.send("progress_state", running(5, "running"));
const while_it_runs = rules();
api.send("execution_success", {});
await pass(20);
const after = rules();
"""
HIDDEN = (
    '[data-node-id="5"] img.contain-size, '
    '[data-node-id="5"] img.contain-size + div { display: none; }'
)


def test_a_preview_that_is_over_stays_hidden_in_its_own_node_alone(tmp_path):
    """KSampler may have the same id in another workflow, and in a subgraph of the same one."""
    told = run_script(
        tmp_path,
        OPEN
        + """
open(new Graph("two", makeNode(5, "KSampler")));
const elsewhere = rules();
const again = edit();
open(again);
const undone = rules();
open(again, new Graph("inner", makeNode(5, "KSampler")));
const inside = rules();
open(again);
again.show(makeNode(5, "KSampler"));
api.send("graphCleared");
told = [while_it_runs, after, elsewhere, undone, inside, rules()];
""",
    )
    shown = ['[data-node-id="5"] img.contain-size { min-height: 64px !important; }']
    assert told == [shown, [HIDDEN], [], [HIDDEN], [], []]


def test_pictures_of_another_node_are_not_hidden_behind_a_sheet(tmp_path):
    """Preview Image of another workflow has the id of SAMA Anchor Preview."""
    told = run_script(
        tmp_path,
        """
open(new Graph("one", makeNode(7, "SAMAAnchorPreview")));
await load("nodes/sheet_after_preview.js");
Object.assign(app, { nodePreviewImages: { 7: ["blob:"] } });
Object.assign(api, { apiURL: (path) => path, dispatchCustomEvent() {} });
globalThis.fetch = async () => ({ ok: true, blob: async () => "picture" });
api.send("executed", { node: "7", output: { images: [{ filename: "sheet.png" }] } });
await pass(20);
const own = rules();
open(new Graph("two", makeNode(7, "PreviewImage")));
const elsewhere = rules();
open(new Graph("one", makeNode(7, "SAMAAnchorPreview")));
const again = rules();
api.send("progress_state", { nodes: { 7: { state: "running" } } });
told = [own, elsewhere, again, rules()];
""",
    )
    rule = ['[data-node-id="7"] .image-preview { display: none; }']
    assert told == [rule, [], rule, []]
