"""An AV1 encoder must not make ComfyUI a real-time process."""

import os

import av
import numpy as np
import pytest

from sama_core.clip.own_priority import keep_priority


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux's scheduling")
def test_scheduling_is_as_before_after_av1(tmp_path):
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with keep_priority(), av.open(str(tmp_path / "one.mkv"), "w") as container:
        stream = container.add_stream("libsvtav1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before
