"""Quantised SAMA files from whole ones, tensor by tensor, in little memory.

    weight_source.py  the tensors of a full file, or of base shards under a delta, read in chunks
    formats.py        what can be made, which tensors are quantised, how the file is named
    layouts.py        the safetensors forms: header and pieces, sizes known before anything is read
    ggml.py           the GGUF forms, through the library `gguf`
    stream.py         header and pieces onto the disk: resumable, checksummed, whole or not at all
    job.py            all of it together, and the report

`formats` imports no torch: the command line and the nodes list the formats from there.
"""
