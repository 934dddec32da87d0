"""`tiny_run.py` with FSDP2 on the CPU: `torchrun --nproc-per-node 2 sharded_run.py OUTPUT
[setting=value ...]`.

accelerate's launcher shards on accelerators only. Its own FSDP2 preparation works on the CPU too:
it is made to believe that it was asked. The environment is the one that `accelerate launch
--use_fsdp` sets. After the preparation `accelerator.is_fsdp2` is False again: weights, optimisers
and checkpoints are sharded, but what accelerate does differently in a step under FSDP2 (clipping,
accumulation) is not run here.
"""

import os

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

ASKED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "DitBlock",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}


class ShardedState(AcceleratorState):
    """The state of a run that shards, on whatever device."""

    def __init__(self, *args, fsdp_plugin: FullyShardedDataParallelPlugin | None = None, **kwargs):
        fresh = not self.initialized
        super().__init__(*args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fresh:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


def main() -> None:
    os.environ.update(ASKED)
    import accelerate.accelerator

    accelerate.accelerator.AcceleratorState = ShardedState
    import tiny_run

    trainer = tiny_run.main()
    whole = [
        name
        for name, weight in trainer.trainee.named_parameters()
        if not isinstance(weight, DTensor)
    ]
    if whole:
        raise SystemExit(f"not sharded: {', '.join(whole)}")


if __name__ == "__main__":
    main()
