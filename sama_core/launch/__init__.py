"""The commands of `run.py`: from a fresh machine to an edited clip. Standard library only.

    cli.py           the command line; arguments.py, edit_arguments.py: its options
    commands/        what each command does
    places.py        paths, and files to write
    progress.py      stages on the terminal, errors with the end of a log
    model_choice.py  which model files are here, which ones an edit uses
    clip_jobs.py     small jobs on clips, run in the environment
    setup/           makes the environment and fetches ComfyUI
    server/          starts a ComfyUI or finds one, talks to it, follows one edit
    batch/           many edits on several servers

An edit goes through cli, commands/edit, setup/environment, server/comfy_place, server/process,
server/edit_graph, server/run_graph, server/client and server/follow.
"""
