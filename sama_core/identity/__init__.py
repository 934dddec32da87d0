"""Keys for results: the same things give the same key, other things another, and what cannot be
described gives none.

    parts.py      what is written: bytes, and things described in their turn
    describe.py   one walk over objects: each once, cycles by order of visit, no depth limit
    kinds.py      what of an object is written: values, containers, instances
    code.py       functions, classes and modules: what they would do
    code_bytes.py where code comes from, that it is what was loaded, and its instructions
    tensors.py    values of tensors, in full or sampled

Torch only; `sama_core.comfyui.run_identity` knows what a run in ComfyUI depends on.
"""

from .describe import Description
from .parts import Indescribable, Part
from .tensors import full_bytes, sampled_bytes

__all__ = ["Description", "Indescribable", "Part", "full_bytes", "sampled_bytes"]
