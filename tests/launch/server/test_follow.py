"""Following an edit: stages from the server's messages, and every way it can fail, in words."""

import io
import json
import struct

import pytest

from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server import follow
from sama_core.launch.server.client import Lost, Output, Unreachable
from sama_core.launch.server.follow import Follower, node_failure, saved_file
from sama_core.launch.server.websocket import BINARY, TEXT, Closed, Message

GRAPH = {
    "1": {"class_type": "LoadVideo", "inputs": {}},
    "5": {"class_type": "SAMASourceVideo", "inputs": {}},
    "6": {
        "class_type": "SAMAEditWholeVideo",
        "inputs": {},
        "_meta": {"title": "SAMA Edit Whole Video"},
    },
    "9": {"class_type": "SaveVideo", "inputs": {}},
}
DONE = {
    "status": {"status_str": "success", "messages": []},
    "outputs": {
        "6": {"images": [{"filename": "preview.png"}]},
        "9": {
            "images": [{"filename": "a.mp4", "subfolder": "video", "type": "output"}],
            "animated": [True],
        },
    },
}
SILENCE = None


def told(kind: str, **data) -> Message:
    return Message(TEXT, json.dumps({"type": kind, "data": {"prompt_id": "mine", **data}}).encode())


def spoken(node: str, text: str) -> Message:
    return Message(BINARY, struct.pack(">II", 3, len(node)) + node.encode() + text.encode())


class Socket:
    """Gives the messages of a list, an exception among them being raised, then nothing more."""

    def __init__(self, messages):
        self.messages = list(messages)

    def receive(self, timeout):
        message = self.messages.pop(0) if self.messages else SILENCE
        if isinstance(message, Exception):
            raise message
        return message


class Client:
    """Answers `history` from a list; the last answer stays."""

    url = "http://somewhere"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.queued = True

    def is_queued(self, prompt_id):
        return self.queued

    def history(self, prompt_id):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Process:
    """Our own server, alive or not."""

    def __init__(self, alive):
        self.alive = lambda: alive

    def connection_error(self):
        return LaunchError("it ended")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: None)


def run(messages, *answers, server=None):
    stream = io.StringIO()
    stages = Stages(stream)
    entry = Follower(Client(*answers), Socket(messages), GRAPH, stages, server).wait("mine")
    stages.finish()
    return entry, stages, stream.getvalue()


def test_stages_follow_the_nodes_and_what_they_say():
    entry, stages, printed = run(
        [
            told("executing", node="1"),
            told("executing", node="6"),
            spoken("6", "SAMA: reading the instruction"),
            told("progress", node="6", value=1, max=9),
            spoken("6", "SAMA: encoding the source"),
            spoken("6", "SAMA: sampling"),
            *(spoken("6", f"SAMA: sampling, step {step} of 4") for step in (1, 2, 3, 4)),
            spoken("6", "SAMA: decoding"),
            told("executing", node="9"),
            told("executing", node=None),
        ],
        DONE,
    )
    assert entry is DONE
    assert list(stages.seconds()) == ["load", "encode", "sampling", "decode", "save"]
    assert "[sampling] 4/4" in printed and "[encode] encoding the source" in printed


def test_remarks_of_clip_and_instruction_are_printed_once():
    """That of the clip may hold the name of a stage; what the loader says is no remark."""
    damaged = "3 frames are damaged, and were patched up while decoding."
    words = "SAMA: SAMA-Shapes does not know: crab."
    _, stages, printed = run(
        [
            told("executing", node="1"),
            spoken("1", "SAMA: loading weights, 1 of 6 blocks"),
            told("executing", node="5"),
            spoken("5", damaged),
            told("executing", node="6"),
            *(spoken("6", text) for text in (words, "SAMA: sampling", words, " ")),
            told("executing", node=None),
        ],
        DONE,
    )
    lines = [line.rstrip() for line in printed.splitlines()]
    assert lines.count(damaged) == lines.count(words) == 1
    assert "loading" not in printed and "decode" not in stages.seconds()


def test_segments_are_told_and_remarks_that_come_together_are_printed_once():
    """As SAMA Edit Whole Video says them."""
    varies, words = "The frame rate varies.", "SAMA: SAMA-Shapes does not know: reading, sampling."
    _, stages, printed = run(
        [
            told("executing", node="6"),
            spoken("6", "SAMA: reading the clip, frame 400 of 400"),
            *(spoken("6", text) for text in (varies, f"{varies}\n{words}")),
            spoken("6", "SAMA: it needs about 12 MB of disk, 3 GB are free"),
            spoken("6", "SAMA: segment 2 of 5, encoding the source"),
            spoken("6", "SAMA: sampling, step 4 of 4, 2 s a step, about 40 s left, segment 2 of 5"),
            spoken("6", "SAMA: frame 400 of 400, about 9 s left, decoding"),
            spoken("6", "SAMA: joining the pieces"),
            told("executing", node=None),
        ],
        DONE,
    )
    lines = [line.rstrip() for line in printed.splitlines()]
    assert lines.count(varies) == lines.count(words) == 1
    for line in (
        "[encode] 400/400",
        "[encode] it needs about 12 MB of disk, 3 GB are free",
        "[encode] segment 2 of 5, encoding the source",
        "[sampling] 4/4 · segment 2 of 5, about 40 s left",
        "[decode] 400/400",
        "[save] joining the pieces",
    ):
        assert line in lines
    assert list(stages.seconds()) == ["encode", "sampling", "decode", "save"]


def test_other_peoples_work_is_not_ours():
    other = {"prompt_id": "theirs"}
    _, stages, printed = run(
        [
            told("executing", node="9", **other),
            spoken("6", "SAMA: decoding"),
            told("executing", node="1"),
            spoken("6", "SAMA: decoding"),
            told("executing", node=None, **other),
            told("execution_error", **other),
            Message(BINARY, b"\0\0\0\1preview"),
            Message(BINARY, b""),
            *(Message(TEXT, json.dumps({"type": "pack", "data": x}).encode()) for x in ([1], "a")),
            *(Message(TEXT, odd) for odd in (b"hello", b"[1]", b"null", b"\xff", b"")),
            told("execution_success"),
        ],
        DONE,
    )
    assert list(stages.seconds()) == ["load"]
    assert "decod" not in printed


def test_the_queue_is_told_until_it_is_our_turn():
    def status(n):
        return Message(
            TEXT,
            json.dumps(
                {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": n}}}}
            ).encode(),
        )

    stream = io.StringIO()
    stages = Stages(stream)
    stages.start("load")
    Follower(
        Client(DONE),
        Socket([status(3), status(1), told("executing", node="1"), status(5)]),
        GRAPH,
        stages,
    ).wait("mine")
    assert stream.getvalue().count("before this one in the queue") == 1
    assert "waiting, 2 before this one" in stream.getvalue()


def test_messages_that_never_come_are_made_up_for_by_the_history():
    assert run([SILENCE, SILENCE], None, None, DONE)[0] is DONE


def test_a_broken_connection_is_made_up_for_by_the_history():
    assert run([told("executing", node="6"), Closed("gone"), Closed("gone")], None, DONE)[0] is DONE


def test_a_silent_server_that_forgot_the_edit_is_told():
    """It was started again, and the router between forgot the connection: nothing ever comes."""
    client = Client(None)
    client.queued = False
    with pytest.raises(Lost, match="started again in the middle"):
        Follower(client, Socket([]), GRAPH, Stages(io.StringIO())).wait("mine")


def test_our_server_that_ended_is_told():
    with pytest.raises(LaunchError, match="it ended"):
        run([Closed("gone")], Unreachable("no"), server=Process(alive=False))


def test_our_busy_server_is_waited_for():
    busy = Unreachable("timed out")
    assert (
        run([SILENCE] * 6, busy, busy, busy, busy, busy, DONE, server=Process(alive=True))[0]
        is DONE
    )


def test_someone_elses_server_may_miss_two_answers_but_not_three():
    gone = Unreachable("no answer")
    assert run([Closed("gone")] * 3, gone, gone, DONE)[0] is DONE
    with pytest.raises(
        LaunchError, match="^server at http://somewhere: the connection was lost in the middle"
    ):
        run([Closed("gone")] * 3, gone)


def _failed(*messages):
    return {
        "status": {"status_str": "error", "messages": [["execution_start", {}], *messages]},
        "outputs": {},
    }


def test_a_nodes_exception_becomes_a_sentence():
    error = {
        "node_id": "6",
        "exception_type": "sama.ClipError",
        "exception_message": "frame count: got 0, needs 1.\n",
    }
    sentence = r"^SAMA Edit Whole Video \(node 6\): frame count: got 0, needs 1\.$"
    with pytest.raises(LaunchError, match=sentence):
        run([told("execution_error")], _failed(["execution_error", error]))


def test_an_edit_stopped_on_the_server():
    with pytest.raises(LaunchError, match="the edit was stopped there"):
        run([told("execution_interrupted")], _failed(["execution_interrupted", {}]))


@pytest.mark.parametrize(
    ("kind", "message", "sentence"),
    [
        (
            "OSError",
            "[Errno 28] No space left on device: '/x/a.mp4'",
            "the disk that ComfyUI writes to is full",
        ),
        ("torch.OutOfMemoryError", "Allocation on device", "memory ran out"),
        ("RuntimeError", "CUDA error: out of memory", "memory ran out"),
        ("KeyError", "", "KeyError"),
    ],
)
def test_common_failures_say_what_to_do(kind, message, sentence):
    text = node_failure(
        GRAPH, {"node_id": "9", "exception_type": kind, "exception_message": message}
    )
    assert text.startswith("SaveVideo (node 9): ") and sentence in text


def test_the_result_is_what_save_video_saved():
    assert saved_file(DONE, GRAPH) == Output("a.mp4", "video", "output")
    with pytest.raises(LaunchError, match="without saving a clip"):
        saved_file({"outputs": {"6": DONE["outputs"]["6"]}}, GRAPH)


@pytest.mark.parametrize(
    ("prefix", "subfolder", "ours"),
    [
        ("video/a", "video", True),
        ("a", "", True),
        ("video/b", "video", False),
        ("other/a", "video", False),
        ("two/deep/a", "two\\deep", True),
    ],
)
def test_another_jobs_file_is_no_result(prefix, subfolder, ours):
    graph = {"9": {"class_type": "SaveVideo", "inputs": {"filename_prefix": prefix}}}
    entry = {
        "outputs": {
            "9": {
                "images": [{"filename": "a_00001_.mp4", "subfolder": subfolder, "type": "output"}]
            }
        }
    }
    if ours:
        assert saved_file(entry, graph) == Output("a_00001_.mp4", subfolder, "output")
    else:
        with pytest.raises(LaunchError, match="without saving a clip"):
            saved_file(entry, graph)
