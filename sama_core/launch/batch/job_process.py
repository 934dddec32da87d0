"""The environment's process that reads and writes pictures for a batch: one for all rows."""

import contextlib
import json
import subprocess
from threading import Lock, Timer
from typing import IO, Any

from ..places import Places, clean_env
from ..progress import LaunchError, log_tail
from ..setup.messages import read_message
from ..setup.processes import stop

SECONDS, FRAME_SECONDS = 600, 30
"""A job that takes longer is ended: a damaged clip may keep a decoder for ever. Numbered frames are
joined one by one, each in the second time at most.
"""


class Closed(LaunchError):
    """The batch is over."""


class JobProcess:
    """Runs jobs of `clip_jobs` one after another; safe to use from several threads."""

    def __init__(self, places: Places):
        """`places` has the environment. The process starts with the first job."""
        self.places = places
        self._lock = Lock()
        self._closed = False
        self._process: subprocess.Popen | None = None
        self._log = places.log("batch-clips")

    def run(self, job: str, *arguments: Any) -> Any:
        """The answer of one job. Raises LaunchError with its message if it fails, or Closed."""
        line = json.dumps({"job": job, "arguments": arguments}) + "\n"
        with self._lock:
            process = self._start()
            frames = sum(len(given) for given in arguments if isinstance(given, list))
            timer = Timer(SECONDS + FRAME_SECONDS * frames, process.kill)
            timer.start()
            try:
                assert process.stdin and process.stdout
                process.stdin.write(line)
                process.stdin.flush()
                answer = self._read_answer(process.stdout)
            except OSError:
                answer = None
            finally:
                timer.cancel()
            if answer is None:
                self._end()
                if self._closed:
                    raise Closed("the batch is over")
                last = log_tail(self._log, lines=1).strip() or "no message"
                raise LaunchError(f"{job}: the process for pictures ended ({last})")
        if "error" in answer:
            raise LaunchError(answer["error"])
        return answer["answer"]

    def _read_answer(self, stream: IO[str]) -> dict[str, Any] | None:
        """The next answer; None if the process ends before. What else is printed there goes into
        the log.
        """
        while (line := stream.readline()).endswith("\n"):
            said = read_message(line)
            if said and ("answer" in said or "error" in said):
                return said
            with self._log.open("a", encoding="utf-8") as log:
                log.write(line)
        return None

    def close(self) -> None:
        """Ends the process, and a job that runs in it."""
        self._closed = True
        process = self._process
        if process:
            process.kill()
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen:
        if self._closed:
            raise Closed("the batch is over")
        if self._process is None or self._process.poll() is not None:
            self._log.write_bytes(b"")
            with self._log.open("ab") as log:  # to its end, whoever else writes there
                self._process = subprocess.Popen(
                    [str(self.places.python), "-m", "sama_core.launch.clip_jobs", "lines"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self.places.root,
                    env=clean_env(),
                    encoding="utf-8",
                    errors="backslashreplace",
                    start_new_session=True,
                )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        stop(process)
