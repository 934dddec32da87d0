"""What the stages print and count."""

import errno
import io

import pytest

from sama_core.launch.progress import Stages, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_seconds_are_counted_for_each_stage_and_summed():
    clock, stream = Clock(), io.StringIO()
    stages = Stages(stream, clock)
    for name, seconds in (("load", 2), ("sampling", 8.5), ("load", 1)):
        stages.start(name)
        clock.now += seconds
    stages.finish()
    assert stages.seconds() == {"load": 3, "sampling": 8.5}
    assert (
        stages.table() == "  load           3.0 s\n  sampling       8.5 s\n  total         11.5 s"
    )


@pytest.mark.parametrize(
    ("pace", "text"), [(1, "1.00 it/s · ETA 0:07"), (4, "4.00 s/it · ETA 0:28")]
)
def test_steps_show_count_rate_and_time_left(pace, text):
    clock, stream = Clock(), io.StringIO()
    stages = Stages(stream, clock)
    stages.start("sampling")
    for done in (1, 2, 3):
        clock.now += pace
        stages.step(done, 10)
    assert stream.getvalue().splitlines()[-1] == f"[sampling] 3/10 · {text}"


def test_fast_steps_do_not_flood_a_log_but_the_last_one_shows():
    clock, stream = Clock(), io.StringIO()
    stages = Stages(stream, clock)
    stages.start("sampling")
    for done in range(1, 101):
        clock.now += 0.01
        stages.step(done, 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) < 5 and lines[-1].startswith("[sampling] 100/100")


def test_a_terminal_gets_one_line_rewritten():
    stream = Terminal()
    stages = Stages(stream, Clock())
    stages.start("set-up", "one")
    stages.update("two")
    stages.finish()
    assert stream.getvalue() == "\r\x1b[2K[set-up] one\r\x1b[2K[set-up] two\n"


def test_passing_texts_are_for_terminals_only():
    stream = io.StringIO()
    stages = Stages(stream, Clock())
    stages.start("set-up")
    stages.update("installing · 0:05", transient=True)
    assert stream.getvalue() == "[set-up]\n"


class Full(io.StringIO):
    """A log whose disk is full after some lines."""

    room = 2

    def write(self, text: str) -> int:
        if self.getvalue().count("\n") >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_stops_no_work_and_loses_no_line_that_stays(capsys):
    stream = Full()
    stages = Stages(stream)
    stages.start("load")
    stages.say("the clip")
    assert stages.unwritten is None
    stages.say("the result")
    for done in range(3):
        stages.step(done, 3)
    stream.room = 9
    stages.say("the table")
    stages.finish()
    assert stages.unwritten.errno == errno.ENOSPC
    assert stream.getvalue() == "[load]\nthe clip\n"
    assert capsys.readouterr().err == "the result\nthe table\n"
