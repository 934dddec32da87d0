"""Queues one graph on a server and waits for its end."""

from collections.abc import Callable

from ..progress import LaunchError, Stages
from .client import QUEUE_PATH, Client, Refused
from .follow import Follower
from .process import Server
from .workflow import refusal


def run_graph(
    client: Client,
    graph: dict,
    stages: Stages,
    server: Server | None = None,
    queued: Callable[[str], None] = lambda prompt_id: None,
) -> dict:
    """Queues a graph, shows its progress, and returns its history entry when it has ended.

    `server` is the process if this command started it; `queued` gets the graph's id. Ctrl-C, and a
    terminal that is gone, take the graph off a server that goes on running. Raises LaunchError if
    the server refuses the graph or a node fails, and Lost if the server ends.
    """
    socket = client.listen()
    prompt_id = None
    try:
        prompt_id = client.queue(graph)
        queued(prompt_id)
        return Follower(client, socket, graph, stages, server).wait(prompt_id)
    except Refused as error:
        if error.path != QUEUE_PATH:
            raise
        raise LaunchError(refusal(graph, error.body)) from error
    except (KeyboardInterrupt, OSError):
        if prompt_id and server is None:
            client.cancel(prompt_id)
        raise
    finally:
        socket.close()
