"""Files made to break the reader, and what must come of each: `clips`, `sounds`, `stamps`. `worker` tries them."""
