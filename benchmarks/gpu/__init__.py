"""SAMA-14B's shape on a card; `python -m benchmarks.gpu` is the command.

The file, schema `sama-gpu-2`:
    schema, dry, date
    card {name, total_bytes, capability}, versions {torch, cuda, comfyui, pack, python}
    config {dim, num_heads, …}    sizes of the model that ran
    ceiling {bf16, fp8}           {flops_per_second} of the card's fastest large matrix product, or
                                  {why_not}
    points [{
        code                      "sama" or "official"
        frames, width, height
        weights                   "bf16" or "fp8"
        cap                       GB, or null for all of the card's memory
        attention, compile, prefetch
                                  the back end; true or false; with ComfyUI's block prefetch or not
        outcome                   "ok", "oom", "timeout", "absent: …", "failed: …"
      and with "ok":
        tokens                    of one call, as the two next
        attention_flops, linear_flops
        first_seconds             until the first step is done: weights onto the card, compilation
        seconds_per_step [s, …]   of the later steps
        peak_bytes                torch's allocations at their peak, after loading began
        peak_device_bytes         most in use on the card by all programs, less what was before
        weights_on_device_bytes   what of the weights lay on the card in the end
        weights_bytes             all of them
        ram_peak_bytes, dynamic   this process; whether ComfyUI's dynamic memory ran
        ceiling_fraction          flops per second of the median step / the ceiling of bf16
        of_official               its median step / the official code's on the same clip, or null
        of_no_prefetch            with prefetch: its median step / that without, or null
    }]
    goals {ceiling_fraction, of_official, of_no_prefetch}
                                  {goal, best, reached} of the pack's own code with all memory and
                                  exact attention; null where nothing was measured
    left_out [point]              that this run had no time for
In a dry file sizes are tiny (`sizes.DRY`, `sizes.DRY_CLIP`), whatever a point is called, and every
figure is meaningless.
"""
