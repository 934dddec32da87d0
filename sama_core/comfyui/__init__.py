"""Everything of SAMA that knows ComfyUI. Nothing else in `sama_core` imports it.

The model
    register.py            how ComfyUI recognises a SAMA file, and lists the pack's own models
    model.py               the BaseModel; packed_dit.py: the DiT over ComfyUI's packed state
    shapes_latent.py       the latents of SAMA-Shapes
    loaders.py             diffusion model, text encoder and VAE from files; weight_files.py reads
    lora.py                LoRA with a report; distilled.py knows the step-distilled ones
    convert.py             a listed model → a smaller file
One sampling run
    joint_state.py         video + semantic latents in one flat tensor, sampled and taken apart
    streams.py             the two streams, packed in a run, attached between runs
    video_view.py          callbacks, masks and CFG functions that expect a 5-D video
    context_windows.py     ComfyUI's context windows over the packed state
    attention_backends.py  block-sparse attention: ComfyUI's own is served, any other refused
    anchors.py             an edited first frame that the run is given
    film.py                the live preview of all latent frames
    non_finite.py          NaN and infinite values are refused, with their likely causes
    out_of_memory.py       advice in out-of-memory errors
    plan.py                this machine and a loaded model, for plans
A whole edit
    conditioning.py        instruction and source → conditioning and latents; vae_frames.py counts
    unknown_words.py       words that SAMA-Shapes does not know
    edit.py                instruction → frames, stage by stage; single frames, edited as stills
    drafts.py              single frames over seeds and instructions: draft_board.py shows them,
                           kept_drafts.py keeps them, draft_costs.py says what they cost
    long_edit.py           a long clip in segments, kept on disk under keys of
    run_identity.py        … everything that decides a result: model_identity.py, launch_identity.py
    node_progress.py       what a node shows while it works
A whole video
    whole_video.py         VIDEO → VIDEO; whole_source.py: the clip; whole_share.py: a part of it
    whole_decode.py        segments → pieces of the result, by stepwise_decode.py
    whole_result.py        the result, until it is saved; running_graph.py: which nodes use it
Video
    video.py               VIDEO or IMAGE → fitted frames; clip_folder.py: the clips of a folder
    core_video.py          a VIDEO that ComfyUI has changed, as the file it shows
    media_values.py        what IMAGE and AUDIO hold
    restored_video.py      the edit as a VIDEO; transcode.py writes what the pack itself cannot
    made_video.py          a VIDEO whose file is written when it is used
    saving.py              whether the result can be saved, and an edit that could not
    compare.py             two clips for the player; keep_pair.py: … as training data
Training
    train_lora.py          ComfyUI's Train LoRA on SAMA; training_pairs.py makes its samples
    alignment_loss.py      a teacher's loss in it; teacher_features.py: what the teacher sees
Other programs
    later_core.py          other versions of ComfyUI: new keywords and missing symbols
    about_pack.py          what a server says of the pack; copies.py: several of them in ComfyUI
"""
