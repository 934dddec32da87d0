"""Training SAMA: stage 0 (image edits and pretext video) and stage 1 (paired edits). Nothing of ComfyUI.

    data/        procedural scenes and edits: where clips and instructions come from
    pretext/     motion pretexts: what stage 0 does to the source clip, and the tag it puts before the text
    semantics/   frozen encoders: an anchor frame becomes 64 local and one global semantic token
    objectives/  flow matching, semantic anchoring and their mixture: per-sample losses
    codec/       the embedded model's VAE
    trainer.py   the loop: composes the above and owns no formula

Importing this package imports nothing else; each part is imported by its own name.
Source: SAMA §3.2–3.3, §4.1, App. B–C. Its training code was never released.
"""
