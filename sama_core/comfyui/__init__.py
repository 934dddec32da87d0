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
core_video.py    a VIDEO that ComfyUI has changed, as the file it shows
restored_video.py  the result as a VIDEO; transcode.py, color_space.py, reframed.py, rescue.py help it
saving_ahead.py  whether the result can be saved, before the edit
what_loads.py    which parts work on the ComfyUI at hand
"""
