"""`run.py batch`: many clips, several servers, a report; started again it does what is missing."""

import os
from argparse import Namespace
from pathlib import Path

from ... import embedded
from ...errors import needed
from ...plan.seconds import read_calibrations
from ...plan.summary import span
from ..batch.batch_outputs import OWN
from ..batch.batch_report import PAGE
from ..batch.batch_rows import Found, Row, Settings, name_targets, read_fps
from ..batch.batch_run import DIGESTS, LEDGER, Batch, Task
from ..batch.clip_digests import ClipDigests
from ..batch.folder_rows import folder_rows
from ..batch.job_process import JobProcess
from ..batch.ledger import Ledger
from ..batch.planned_time import machine_of, model_of, total_seconds
from ..batch.row_table import TABLES, table_rows
from ..batch.scheduler import Worker
from ..batch.workers import ForeignWorker, OwnWorker
from ..model_choice import Trio, choose_trio
from ..places import Places
from ..progress import LaunchError, Stages
from ..server.client import Client, Unreachable
from ..server.process import MODEL_FOLDERS
from ..server.workflow import listed_trio
from ..setup.environment import Environment
from .edit import SET_UP, check_options
from .models import look_in
from .plan import user_folder

LISTED = 40
"""Rows that a dry run lists."""
OTHER_FOLDERS = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}
"""Older names of models folders."""


def batch(options: Namespace, places: Places, stages: Stages) -> int:
    """Edits every row of the source; 0 if all are done then, else 1.

    With `--dry-run` it only says what it would do.
    """
    source = _source(options)
    out = _out(options, source)
    found = read_rows(options, source, out)
    rows = name_targets(found.rows, options.as_frames)
    asked = [ForeignWorker(url, places) for url in options.server]
    workers: list[Worker] = list({worker.name: worker for worker in asked}.values())
    stages.start(SET_UP)
    comfyui = Environment(places, stages).ready(options.comfyui)
    clients = answering(workers, stages)
    model = same_trio(clients) if clients else local_trio(options, places)
    workers = workers or [OwnWorker(comfyui, places, options.keep, stages.say)]
    stages.finish()
    for remark in found.remarks:
        stages.say(remark)
    if model.small:
        stages.say(model.notice())
    task = Task(out, rows, model, options.as_frames, found.remarks)
    if options.dry_run:
        return tell_plan(task, clients, options, places, stages)
    out.mkdir(parents=True, exist_ok=True)
    missing = Batch(task, workers, places, stages).run()
    stages.say(f"\n{len(rows) - missing} of {len(rows)} rows are done. Report: {out / PAGE}")
    if missing:
        stages.say("The same command makes what is missing.")
    return int(missing > 0)


def read_rows(options: Namespace, source: Path, out: Path) -> Found:
    """The rows of the source. Raises LaunchError for values that no edit can have."""
    text = options.instruction or ""
    check_options(Namespace(**{**vars(options), "instruction": text or "none"}))
    fps = read_fps("--fps", options.fps) if options.fps else None
    usual = Settings(
        text,
        options.seed,
        options.steps,
        options.cfg,
        options.frames,
        options.area,
        options.fit,
        options.lora,
        options.lora_strength,
    )
    if source.is_file():
        return table_rows(source, usual, fps)
    if not text.strip():
        raise LaunchError(
            needed(
                "--instruction",
                "none",
                "what to change in every clip of the folder",
                'Give --instruction "make the car red", or a table with a column of its own.',
            )
        )
    return folder_rows(source, out, usual, fps)


def answering(workers: list[Worker], stages: Stages) -> list[Client]:
    """Those servers that answer; others may come later.

    Raises LaunchError if none answers, or one lacks the pack in this version.
    """
    clients, silent = [], []
    for worker in workers:
        try:
            clients.append(worker.connect().client)
        except Unreachable as silence:
            silent.append(silence)
    if silent and not clients:
        raise silent[0]
    for gone in silent:
        stages.say(f"{gone} It is left out until it answers.")
    return clients


def same_trio(clients: list[Client]) -> Trio:
    """The model files that all servers list. Raises LaunchError if they list others."""
    trios = [listed_trio(client) for client in clients]
    for client, trio in zip(clients, trios, strict=True):
        if trio != trios[0]:
            raise LaunchError(
                needed(
                    f"server at {client.url}",
                    f"the model {trio.diffusion_model}",
                    f"{trios[0].diffusion_model}, as on {clients[0].url}",
                    "Give both the same model files, or leave one out.",
                )
            )
    return trios[0]


def local_trio(options: Namespace, places: Places) -> Trio:
    """The model files that a server started here will list."""
    folders = look_in(Namespace(dir=None, comfyui=options.comfyui), places)
    names = {
        kind: [
            str(path.relative_to(folder / part))
            for folder in folders
            for part in (kind, *OTHER_FOLDERS.get(kind, ()))
            for path in sorted((folder / part).rglob("*"))
            if path.is_file()
        ]
        for kind in MODEL_FOLDERS
    }
    small = [file.name for file in embedded.FILES]
    return choose_trio(
        [*names["diffusion_models"], small[0]],
        [*names["text_encoders"], small[1]],
        [*names["vae"], small[2]],
    )


def tell_plan(
    task: Task, clients: list[Client], options: Namespace, places: Places, stages: Stages
) -> int:
    """Prints the rows, what is done, and how long the rest will take; writes nothing."""
    own = task.out / OWN
    ledger = Ledger(task.out, own / LEDGER)
    jobs, unreadable = task.sort(ClipDigests(own / DIGESTS, keep=False), lambda text: None)
    done = {id(row) for key, job in jobs.items() if ledger.results(key) for row in job.rows}
    for index, row in enumerate(task.rows[:LISTED]):
        state = "done" if id(row) in done else "unreadable" if index in unreadable else "to do"
        stages.say(f"{state:<10}  {row.name} → {row.target}")
    if len(task.rows) > LISTED:
        stages.say(f"… and {len(task.rows) - LISTED} more")
    todo = [job.rows[0] for job in jobs.values() if id(job.rows[0]) not in done]
    stages.say(
        f"\n{len(task.rows)} rows: {len(done)} done, {len(unreadable)} whose clip cannot be read, "
        f"{len(todo)} edits to make. Results: {task.out}"
    )
    if todo:
        stages.say(_time(todo, task, clients, options, places, stages))
    return 0


def _time(
    rows: list[Row],
    task: Task,
    clients: list[Client],
    options: Namespace,
    places: Places,
    stages: Stages,
) -> str:
    pictures, edits = JobProcess(places), []
    stages.start("read clips")
    try:
        for number, row in enumerate(rows, 1):
            stages.update(f"{number} of {len(rows)}", transient=True)
            files = [str(path) for path in row.clip.files()]
            try:
                size = pictures.run("size", files if row.clip.frames else files[0])
            except LaunchError as error:
                stages.say(f"{row.name}: {error}")
            else:
                edits.append((row.settings, size))
    finally:
        pictures.close()
        stages.finish()
    folders = look_in(Namespace(dir=None, comfyui=options.comfyui), places)
    model = model_of(task.model, [folder / "diffusion_models" for folder in folders], places)
    machines = [machine_of(client) for client in clients] or [machine_of(None)]
    whole = total_seconds(edits, model, machines, read_calibrations(user_folder(places)))
    if whole is None:
        return "Time: not known for this machine. `python3 run.py plan --calibrate` measures it."
    where = f"on {len(machines)} servers" if len(machines) > 1 else "on one server"
    return (
        f"Time: {span(whole.low, whole.high)} of sampling for {len(edits)} edits {where} "
        f"({whole.source}). Loading, the VAE and saving come on top."
    )


def _source(options: Namespace) -> Path:
    source = Path(os.path.abspath(os.path.expanduser(options.source)))
    if source.is_dir() or (source.is_file() and source.suffix.lower() in TABLES):
        return source
    got = f"a {source.suffix or 'file'}" if source.exists() else "nothing there"
    raise LaunchError(
        needed(str(source), got, "a folder of clips, a CSV or a JSONL file", "Check the path.")
    )


def _out(options: Namespace, source: Path) -> Path:
    """The output folder: `--out`, or one beside the source."""
    name = source.name if source.is_dir() else source.stem
    given = options.out or source.parent / f"{name}_sama"
    out = Path(os.path.abspath(os.path.expanduser(given)))
    if out == source or out.is_file():
        got = "the source itself" if out == source else "a file"
        raise LaunchError(needed(f"--out {out}", got, "a folder of its own", "Give another."))
    return out
