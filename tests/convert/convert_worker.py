"""Conversions in processes that may die: `python convert_worker.py ROOT`, a request a line, an
answer a line.

Each request is done by a fork of this process, so that torch is imported once for all of them.
`die_at`: kill -9 after so many bytes written; `largest`: the system's limit on a file's size. The
answer: `signal` or `error`, and `grown`, the MiB that the peak of memory grew.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from benchmarks.own_process import reset_peak, resident
from sama_core.convert import stream
from sama_core.convert.ggml import require_gguf
from sama_core.convert.job import convert
from sama_core.model.config import DitConfig
from sama_core.weights.checkpoint import model_shapes

# Imports are lazy: what torch and the library need at first use is shared by all forks.
require_gguf()
model_shapes(DitConfig(128, 1, 32, 1, 8, 8, 16, 16, 8, 8))


def die_at(limit: int) -> None:
    """From now on, the write that passes `limit` bytes is cut there, and the process killed."""
    real, written = stream._write_all, [0]

    def write(file, data):
        view = memoryview(data).cast("B")
        if written[0] + len(view) > limit:
            real(file, view[: limit - written[0]])
            os.kill(os.getpid(), signal.SIGKILL)
        written[0] += len(view)
        real(file, data)

    stream._write_all = write


def work(asked: dict) -> dict:
    if "largest" in asked:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
    if "die_at" in asked:
        die_at(asked["die_at"])
    if "warm_up" in asked:
        convert(asked["warm_up"], Path(asked["target"] + "_warm"), asked["format"])
    before = reset_peak()
    try:
        convert(asked["source"], Path(asked["target"]), asked["format"])
    except stream.ConversionError as error:
        return {"error": str(error)}
    return {"grown": resident("VmHWM") - before >> 20}


def forked(asked: dict) -> dict:
    """What `work` answers in a process of its own, or the signal that ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.write(writer, json.dumps(work(asked)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"signal": os.waitstatus_to_exitcode(status)}


for line in sys.stdin:
    print(json.dumps(forked(json.loads(line))), flush=True)
