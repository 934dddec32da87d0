"""Weight files: what a file holds, whether it fits, under which names, and writing one."""
