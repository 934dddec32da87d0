"""Training SAMA: stage 0 (image edits and pretext video) and stage 1 (paired edits). Nothing of ComfyUI.

    recipe ──▶ run (ShapesRun | PairsRun) ──trainee, data──▶ Trainer ──average──▶ run.write ──▶ files the loaders take

    data/        procedural scenes and edits: where the embedded model's clips and instructions come from
    pretext/     motion pretexts: what stage 0 does to the source clip, and the tag it puts before the text
    semantics/   frozen encoders: an anchor frame becomes 64 local and one global semantic token
    objectives/  flow matching, semantic anchoring and their mixture: per-sample losses
    codec/       the embedded model's VAE
    shapes*.py   the embedded model: samples, their pool of latents, batches, files
    pairs*.py    your own clips: rows of a JSONL file, bad ones left out and counted
    config.py    every setting of a recipe; recipes/ has those that were used
    trainer.py   the loop: composes the above and owns no formula

Importing this package imports nothing else; each part is imported by its own name. Command: `python -m
sama_core.training`. Source: SAMA §3.2–3.3, §4.1, App. B–C. Its training code was never released.
"""
