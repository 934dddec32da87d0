"""Training in little card memory: a quantised base, streamed blocks, activations in RAM.

    config          the table `[memory]` of a recipe
    packed          quantised weights as they are stored, and what numbers they stand for
    frozen_linear   a frozen layer that unpacks its matrix when it is used, and keeps no copy
    base_weights    the layers of a weight file that stay packed
    block_swap      blocks that live in RAM and are copied to the card when they are due
    ram             room in RAM, and checkpointed block inputs in it
    arrange         puts the above into a trainee, as the table says
    out_of_memory   the setting that helps next

How much memory a training needs is computed in `sama_core/plan`, before anything is loaded.
"""
