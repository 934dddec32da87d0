"""`run.py batch --ray ADDRESS`: the servers of a batch on a Ray cluster, one for each card.

    commands/batch ─ ray_cluster ─▶ Ray: an actor for each slot, node_actor, restarted when it dies
    node_actor ─ finds the pack on its node ─▶ node_server: one ComfyUI by the same launcher
    batch/scheduler ─ ray_worker ─▶ node_actor: address, clip;  HTTP to the ComfyUI as ever

    slots            which resource a ComfyUI takes, and how many fit
    ray_cluster      joining the cluster, placing the actors, ending them
    ray_worker       one of them as the scheduler's worker
    node_actor       runs in Ray's Python on a node; sent as it is, so that a node without the pack
                     can say so
    node_server      what it runs: set-up, ComfyUI, and clips that the node sees itself
    own_python       goes on in the environment's Python, where Ray is

Ray places, starts and restarts; rows, retries, results and the report are the scheduler's.
"""
