"""Everything of SAMA that knows ComfyUI. Nothing else in `sama_core` imports it.

    register.py      SamaConfig: how ComfyUI recognises a SAMA file
    model.py         SamaModel: the BaseModel, and the DiT over ComfyUI's packed state
    joint_state.py   one sampling run: video + semantic latents in one flat tensor
    adapters.py      CFG functions, context windows and masks that expect a 5-D video
    loaders.py       diffusion model, text encoder, VAE
    lora.py          LoRA with a report
    conditioning.py  instruction and source → conditioning
    edit.py          a whole edit, stage by stage
    video.py         ComfyUI's VIDEO and IMAGE ↔ clips
"""
