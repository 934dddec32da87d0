"""Everything of SAMA that knows ComfyUI. Nothing else in `sama_core` imports it.

The model
    register.py            how ComfyUI recognises a SAMA file, and lists the pack's own models
    model.py               the BaseModel, and the DiT over ComfyUI's packed state
    loaders.py             diffusion model, text encoder and VAE from files; weight_files.py reads
    lora.py                LoRA with a report; distilled.py knows the step-distilled ones
    convert.py             a listed model → a smaller file
One sampling run
    joint_state.py         video + semantic latents in one flat tensor, sampled and taken apart
    streams.py             the two streams, packed in a run, attached between runs
    video_view.py          callbacks, masks and CFG functions that expect a 5-D video
    context_windows.py     ComfyUI's context windows over the packed state
    attention_backends.py  block-sparse attention is refused
    non_finite.py          NaN and infinite values are refused, with their likely causes
    out_of_memory.py       advice in out-of-memory errors
    plan.py                this machine and a loaded model, for plans
A whole edit
    conditioning.py        instruction and source → conditioning and latents
    edit.py                instruction → frames, stage by stage; anchor frames, edited as stills
    long_edit.py           a long clip in segments, kept on disk under keys of
    run_identity.py        … everything that decides a result: model_identity.py, launch_identity.py
    node_progress.py       what a node shows while it works
Video
    video.py               VIDEO or IMAGE → fitted frames
    core_video.py          a VIDEO that ComfyUI has changed, as the file it shows
    restored_video.py      the edit as a VIDEO; transcode.py writes what the pack itself cannot
    saving.py              whether the result can be saved, and an edit that could not
Other versions of ComfyUI
    later_core.py          new keywords and missing symbols
"""
