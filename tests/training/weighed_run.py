"""Loads a run and shards it, and writes what RAM each process has of its own by then: `torchrun
--nproc-per-node 2 weighed_run.py RECIPE`, on Linux.

The pages of a mapped file are not its own: all processes share them, and the system can take them
back. Written as `RAM-0.json` and so on beside the recipe, in bytes since the model was read:
"loaded", before it is sharded, and "most" of the moments at which a block has been made ready.
"""

import json
import re
import sys
from pathlib import Path

import torch.distributed.fsdp

from sama_core.training.config import load_config
from sama_core.training.rows.first_weights import ModelFiles
from sama_core.training.rows.rows_run import RowsRun
from sama_core.training.stopping import leave_process
from sama_core.training.trainer import Trainer


def weigh() -> int:
    """Bytes of RAM that are this process's own."""
    told = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return 1024 * int(re.search(r"^Anonymous:\s+(\d+) kB", told, re.MULTILINE)[1])


def main() -> None:
    recipe, weights = Path(sys.argv[1]), []
    load, fully_shard = ModelFiles.load, torch.distributed.fsdp.fully_shard

    def weighed_load(*arguments, **settings):
        weights.append(weigh())
        return load(*arguments, **settings)

    def weighed_shard(*arguments, **settings):
        weights.append(weigh())
        return fully_shard(*arguments, **settings)

    ModelFiles.load, torch.distributed.fsdp.fully_shard = weighed_load, weighed_shard
    config = load_config(recipe)
    run = RowsRun.of(config)
    loaded = weigh()
    trainer = Trainer(config, run.trainee, run.data, run.objective)
    first, *during = weights
    found = {"loaded": loaded - first, "most": max(during) - first}
    path = recipe.with_name(f"RAM-{trainer.accelerator.process_index}.json")
    path.write_text(json.dumps(found), encoding="utf-8")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
    leave_process(0)
