"""What is watched while a point runs: seconds between steps, peaks of memory."""

import threading
import time
from typing import TYPE_CHECKING

from benchmarks.own_process import peak

if TYPE_CHECKING:
    import torch


def wait_for(device: "torch.device") -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize()


class Clock:
    """Seconds between the steps of a sampler."""

    def __init__(self, device: "torch.device"):
        self.device, self.times = device, []

    def start(self) -> None:
        """Forget all times, and begin."""
        self.times = [time.perf_counter()]

    def tick(self, *_step: object) -> None:
        """A step is done; a sampler's callback."""
        wait_for(self.device)
        self.times.append(time.perf_counter())

    def seconds(self) -> dict:
        """Of the first step, and of each later one."""
        steps = [later - before for before, later in zip(self.times, self.times[1:], strict=False)]
        return {"first_seconds": steps[0], "seconds_per_step": steps[1:]}


class Watch:
    """Peaks of the card's memory and of this process while a block runs."""

    def __init__(self, device: "torch.device"):
        self.device, self.ended, self.most = device, threading.Event(), 0

    def __enter__(self) -> "Watch":
        self.before = self._bytes_in_use()
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.ended.set()
        self.thread.join()

    def peaks(self) -> dict:
        """Bytes: torch's on the card, the growth of all in use on the card, this process's own."""
        most = 0
        if self.device.type == "cuda":
            import torch

            most = torch.cuda.max_memory_allocated()
        return {
            "peak_bytes": most,
            "peak_device_bytes": max(0, self.most - self.before),
            "ram_peak_bytes": peak(),
        }

    def _watch(self) -> None:
        while not self.ended.wait(0.01):
            self.most = max(self.most, self._bytes_in_use())

    def _bytes_in_use(self) -> int:
        if self.device.type != "cuda":
            return 0
        import torch

        free, total = torch.cuda.mem_get_info()
        return total - free
