"""`tiny_run.py` with FSDP2 on the CPU: `torchrun --nproc-per-node 2 sharded_run.py OUTPUT
[setting=value ...]`.

Asked for as `accelerate launch --use_fsdp` asks. It fails where a weight is whole, or where a
gradient is between two backward passes.
"""

import os

from torch.distributed.tensor import DTensor

from sama_core.training.sharding import ASKED
from sama_core.training.stopping import leave_process
from sama_core.training.trainer import Trainer


def check_parts(trainer: Trainer) -> None:
    """SystemExit for a weight or gradient that is not in parts."""
    for name, weight in trainer.trainee.named_parameters():
        for what, value in (("weight", weight), ("gradient", weight.grad)):
            if value is None:
                continue
            if not isinstance(value, DTensor) or len(value.to_local()) > (len(value) + 1) // 2:
                raise SystemExit(f"not sharded: {what} {name}")


def main() -> None:
    os.environ[ASKED] = "true"
    backward = Trainer._backward

    def watched(trainer, part, size):
        found = backward(trainer, part, size)
        check_parts(trainer)
        return found

    Trainer._backward = watched
    import tiny_run

    trainer = tiny_run.main()
    if not trainer.sharded or not any(
        hasattr(one, "unshard") for one in trainer.trainee.dit.blocks
    ):
        raise SystemExit("FSDP2 is not at work")


if __name__ == "__main__":
    main()
    leave_process(0)
