"""What our code and ComfyUI promise each other beyond the symbols that we import, as tables.

`contract.py` checks all of it on a ComfyUI. Symbols, calls and overridden methods need no table:
they are read off our syntax. A name in our code that neither a table nor our own code explains
makes the check fail, so that the tables cannot rot.
"""

from .core_syntax import Call

# Classes of ComfyUI's objects in our code → how our code calls such an object, with the file where
# the name is needed to tell. The longest match counts; `[]` and `()` stand for any index and any
# arguments. A class without such a name only explains attributes that are found on it.
OBJECTS = {
    "comfy.model_patcher.ModelPatcher": (
        "model",
        "patcher",
        "patched",
        "model_patcher",
        "vae.patcher",
        "clip.patcher",
    ),
    "comfy.model_base.BaseModel": ("model.model", "patcher.model", "model_patcher.model"),
    "comfy.samplers.CFGGuider": ("guider", "executor.class_obj"),
    "comfy.sd.VAE": ("vae",),
    "comfy.sd.CLIP": ("nodes/edit.py:clip", "conditioning.py:clip", "loaders.py:clip"),
    "comfy.context_windows.IndexListContextHandler": ("handler", "self.handler"),
    "comfy.context_windows.IndexListContextWindow": ("window",),
    "comfy.patcher_extension.WrapperExecutor": ("executor", "new_class_executor()"),
    "comfy.model_management.LoadedModel": ("comfyui/plan.py:found",),
    "comfy.model_sampling.ModelSamplingDiscreteFlow": ("get_model_object()",),
    "comfy.latent_formats.Wan21": ("latent_format",),
    "comfy.supported_models_base.BASE": ("model_config", "register.py:self"),
    "comfy.utils.ProgressBar": ("bar", "self.bar"),
    "comfy.clip_vision.ClipVisionModel": ("training_pairs.py:vision",),
    "comfy.quant_ops.QuantizedTensor": (),
    "comfy.weight_adapter.base.WeightAdapterBase": ("model_identity.py:patch",),
    "latent_preview.LatentPreviewer": ("previewer",),
    "comfy_api.latest.Input.Video": ("comfyui/video.py:video",),
    "comfy_api.latest.Types.VideoComponents": ("comfyui/video.py:parts",),
    "comfy_api.latest._io.ComfyTypeIO": ("ClipInfoType", "SemanticType", "FeaturesType"),
    "comfy_api.latest.io.Schema": ("limits.py:schema",),
    "comfy_extras.nodes_train.TrainSampler": ("train_lora.py:sampler",),
    "comfy.weight_adapter.bypass.BypassForwardHook": ("packed_dit.py:hook",),
    "comfy_api.latest.io.Int.Input": (),
    "comfy_api.latest.io.Combo.Input": (),
    "comfy_api.latest._io.HiddenHolder": ("cls.hidden",),
    "comfy_api.latest.ui.PreviewImage": ("ui.PreviewImage()",),
    "comfy_api.latest.ui.PreviewText": ("ui.PreviewText()",),
    "server.PromptServer": (
        "server.PromptServer.instance",
        "self._server",
        "node_progress.py:server",
        "copies.py:server",
    ),
    "aiohttp.web.Application": ("server.app",),
    # the harness
    "execution.PromptExecutor": ("self._executor",),
    "execution.CacheSet": ("self._executor.caches",),
    "execution.CacheEntry": ("executor.py:entry",),
    "comfy_execution.utils.ExecutionContext": ("executor.py:context",),
    "comfy_execution.progress.ProgressRegistry": ("get_progress_state()",),
    "comfy_execution.graph.DynamicPrompt": ("get_progress_state().dynprompt",),
}

# Functions of ours that stand in for ComfyUI's without being its subclass: ours, by file and name →
# ComfyUI's, how many of our first parameters (`executor`) it has not, and whether ComfyUI counts on
# the order of the rest.
STAND_INS = {
    ("sama_core/comfyui/joint_state.py", "outer_sample"): (
        "comfy.samplers.CFGGuider.outer_sample",
        1,
        True,
    ),
    ("sama_core/comfyui/joint_state.py", "prepare_sampling"): (
        "comfy.sampler_helpers._prepare_sampling",
        1,
        True,
    ),
    ("sama_core/comfyui/joint_state.py", "calc_cond_batch"): (
        "comfy.samplers._calc_cond_batch",
        1,
        True,
    ),
    ("sama_core/comfyui/context_windows.py", "VideoWindows.should_use_context"): (
        "comfy.context_windows.IndexListContextHandler.should_use_context",
        0,
        True,
    ),
    ("sama_core/comfyui/context_windows.py", "VideoWindows.execute"): (
        "comfy.context_windows.IndexListContextHandler.execute",
        0,
        True,
    ),
    ("sama_core/comfyui/packed_dit.py", "PackedSamaDiT.forward"): (
        "comfy.ldm.wan.model.WanModel.forward",
        0,
        False,
    ),
}

# Where ComfyUI calls functions of ours: its file, and what it calls there → ours, by file and name.
_MODEL, _PACKED, _VIEW, _WINDOWS, _LOADERS = (
    f"sama_core/comfyui/{name}.py"
    for name in ("model", "packed_dit", "video_view", "context_windows", "loaders")
)
CALLED = {
    ("comfy/model_base.py", "self.diffusion_model"): [(_PACKED, "PackedSamaDiT.forward")],
    ("comfy/model_base.py", "self.process_timestep"): [(_MODEL, "SamaModel.process_timestep")],
    ("comfy/model_base.py", "unet_model"): [(_MODEL, "_dit_factory.build")],
    ("comfy/sampler_helpers.py", ".extra_conds_shapes"): [(_MODEL, "SamaModel.extra_conds_shapes")],
    ("comfy/model_patcher.py", "self.model.memory_required"): [
        (_MODEL, "SamaModel.memory_required")
    ],
    ("comfy/context_windows.py", ".resize_cond_for_context_window"): [
        (_MODEL, "SamaModel.resize_cond_for_context_window")
    ],
    ("comfy/context_windows.py", ".map_context_window_to_modalities"): [
        (_MODEL, "SamaModel.map_context_window_to_modalities")
    ],
    ("comfy/sd.py", "model.load_model_weights"): [(_MODEL, "SamaModel.load_model_weights")],
    ("comfy/sd.py", "model_config.get_model"): [
        ("sama_core/comfyui/register.py", "SamaConfig.get_model")
    ],
    ("comfy/model_detection.py", "model_config.matches"): [
        ("sama_core/comfyui/register.py", "SamaConfig.matches")
    ],
    ("comfy/samplers.py", "callback"): [
        (_VIEW, "video_callback.show"),
        ("sama_core/comfyui/node_progress.py", "Stages.on_step.callback"),
    ],
    ("comfy/samplers.py", ".should_use_context"): [(_WINDOWS, "VideoWindows.should_use_context")],
    ("comfy/samplers.py", "handler.execute"): [(_WINDOWS, "VideoWindows.execute")],
    ("comfy/model_patcher.py", "self.cached_patcher_init[0]"): [
        (_LOADERS, "load_diffusion_model"),
        (_LOADERS, "_text_encoder_patcher"),
    ],
    ("nodes.py", "entrypoint"): [("nodes/__init__.py", "comfy_entrypoint")],
    ("nodes.py", "extension.on_load"): [("nodes/__init__.py", "SamaExtension.on_load")],
    ("nodes.py", "extension.get_node_list"): [("nodes/__init__.py", "SamaExtension.get_node_list")],
    ("comfy_extras/nodes_video.py", "video.save_to"): [
        ("sama_core/comfyui/restored_video.py", "RestoredVideo.save_to")
    ],
}

# What we rely on without naming it: it is handed to us, or found by a name put together at run
# time. A call says how it is called.
ALSO = {
    "comfy.ldm.modules.attention.optimized_attention": Call(4, ("transformer_options",)),
    "comfy.nested_tensor.NestedTensor.is_nested": None,
    "comfy.nested_tensor.NestedTensor.unbind": Call(1, ()),
    "comfy.patcher_extension.WrappersMP.APPLY_MODEL": None,
    "comfy.patcher_extension.WrappersMP.PREDICT_NOISE": None,
    "comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE": None,
    "execution.PromptQueue.ExecutionStatus.status_str": None,
    "execution.PromptQueue.ExecutionStatus.messages": None,
}

# Keys of ComfyUI's dictionaries, and other words that it must know → in one of these files of its.
WORDS = {
    ("comfy/samplers.py",): (
        "uuids",
        "sampler_cfg_function",
        "sampler_pre_cfg_function",
        "sampler_post_cfg_function",
        "context_handler",
        "sampler_calc_cond_batch_function",
        "model_function_wrapper",
        "cond",
        "uncond",
        "input",
        "cond_scale",
        "conds_out",
        "denoised",
        "cond_denoised",
        "uncond_denoised",
        "transformer_options",
        "model_conds",
        "mask",
        "set_area_to_bounds",
        "area",
        "hooks",
        "control",
        "positive",
        "sample_sigmas",
        "sigmas",
        "multigpu",
    ),
    ("comfy/patcher_extension.py",): ("wrappers", "callbacks", "transformer_options"),
    ("comfy/context_windows.py",): ("context_window",),
    ("comfy/model_base.py",): (
        "c_crossattn",
        "latent_shapes",
        "reference_latents",
        "cross_attn",
        "device",
        "noise",
    ),
    ("comfy/model_detection.py",): ("image_model", "transformer"),
    ("comfy/text_encoders/spiece_tokenizer.py", "comfy/text_encoders/wan.py"): ("spiece_model",),
    ("comfy/supported_models_base.py",): ("fp8",),
    ("comfy/sd.py",): ("dtype", "fp8_optimizations", "config"),
    ("nodes.py",): ("samples", "noise_mask"),
    ("comfy/ldm/modules/attention.py",): ("optimized_attention_override",),
    ("comfy/ldm/wan/model.py",): (
        "patches_replace",
        "patches",
        "dit",
        "double_block",
        "block_index",
        "grid_sizes",
        "img",
        "img_offset",
        "txt",
        "vec",
        "pe",
        "rope_options",
        "attn2_patch",
    ),
    ("comfy/ldm/wan/model.py", "comfy/model_patcher.py"): ("attn1_patch",),
    ("execution.py", "server.py", "main.py"): (
        "executing",
        "progress",
        "status",
        "execution_start",
        "execution_success",
        "execution_error",
        "execution_interrupted",
        "exception_message",
        "exception_type",
        "node_id",
        "node_type",
        "traceback",
        "exec_info",
        "queue_remaining",
        "outputs",
        "prompt_id",
        "client_id",
        "preview_method",
        "node_errors",
        "class_type",
        "subfolder",
        "filename",
    ),
}
# Names under which our code has ComfyUI's dictionaries: each key that it reads of them must be
# above, or one of ours.
DICTIONARIES = {
    "options",
    "model_options",
    "transformer_options",
    "args",
    "kwargs",
    "entry",
    "conds",
    "cond_shapes",
    "latent",
    "start",
    "unet_config",
    "optimizations",
}
OWN_WORDS = {
    "sama_shapes",
    "source_latents",
    "semantic_tokens",
    "num_heads",
    "memory_efficient_attention",
}
"""Keys that are ours, or that only a later ComfyUI gives."""
