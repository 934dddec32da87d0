"""Training SAMA: stage 0 (image edits and pretext video) and stage 1 (paired edits).

    recipe ──▶ Run: trainee, data, objective ──▶ Trainer ──average──▶ Run.write ──▶ weight files

    config       every setting; recipes/ has examples, recipe reads them
    rows/        your own clips: rows of a JSONL file as batches, and the models they need
    pretext/     motion pretexts: what stage 0 does to the source clip, and the tag before the text
    semantics/   frozen encoders: an anchor frame becomes 64 local and one global semantic token
    objectives/  flow matching, semantic anchoring and their mixture: per-sample losses
    memory/      a base in fp8, blocks and their inputs in RAM, the plan of a recipe
    optim/       Muon and AdamW, learning rates, the average of the weights
    trainee      the DiT as it is trained: LoRA, frozen parts, recomputation
    objective    the loss that the settings ask for, and the batch it is of
    trainer      the loop: composes the above and owns no formula
    outputs      log, checkpoint and weight files

Nothing here needs ComfyUI. Importing this package imports nothing else; each part is imported by
its own name. Command: `python -m sama_core.training`. `sama_core.shapes` trains SAMA-Shapes, the
small model inside the pack, with this trainer.
Source: SAMA §3.2–3.3, §4.1, App. B–C. Its training code was never released.
"""
