"""Files made to break the readers, and what must come of each.

clips, sounds, stamps, strange_clips    videos; `worker` takes them from file to saved result
strange_weights                         LoRAs and weights; `weights_worker` loads them
"""
