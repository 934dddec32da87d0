"""`run.py batch`: many clips, several servers, a report; started again it does what is missing."""

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

from ...errors import needed
from ...plan.seconds import read_calibrations
from ...plan.summary import span
from ..batch.batch_outputs import FULL, OWN
from ..batch.batch_report import PAGE
from ..batch.batch_rows import FIRST, Clip, Found, Row, Settings, name_targets, read_fps
from ..batch.batch_run import DIGESTS, JOBS, LEDGER, Batch, Task
from ..batch.clip_digests import ClipDigests
from ..batch.folder_rows import folder_rows
from ..batch.job_process import JobProcess
from ..batch.ledger import Ledger
from ..batch.planned_time import machine_of, model_of, total_seconds
from ..batch.result_folder import hide_password
from ..batch.row_table import TABLES, table_rows
from ..batch.server_choice import check_servers, open_servers
from ..cluster.own_python import go_on_with
from ..places import Places
from ..progress import LaunchError, Stages
from ..server.client import Client
from ..setup.environment import Environment
from .edit import SET_UP, check_options
from .models import look_in
from .plan import user_folder

LEAST_SEGMENT, MOST_SEGMENT = 21, 4097
"""Frames of a segment: five more than the overlap of the workflow, as the node wants it."""
LISTED = 40
"""Rows that a dry run lists."""


def batch(options: Namespace, places: Places, stages: Stages) -> int:
    """Edits every row of the source; 0 if all are done then, else 1.

    With `--dry-run` it only says what it would do.
    """
    source = _source(options)
    url = options.out if "://" in (options.out or "") else None
    out = _record_of(url, places) if url else _out(options, source)
    found = read_rows(options, source, out)
    rows = name_targets(found.rows, options.as_frames)
    check_servers(options)
    segment_frames = read_spread(options)
    stages.start(SET_UP)
    comfyui = Environment(places, stages).ready(options.comfyui)
    if url:
        go_on_with("fsspec", f"--out {hide_password(url)}", places)
    jobs = out / OWN / JOBS if options.spread else None
    with open_servers(options, comfyui, places, stages, len(rows), jobs) as servers:
        stages.finish()
        for remark in found.remarks:
            stages.say(remark)
        if servers.model.small:
            stages.say(servers.model.notice())
        task = Task(
            *(out, rows, servers.model, options.as_frames, found.remarks, segment_frames), url
        )
        if options.dry_run:
            return tell_plan(task, servers.clients, options, places, stages)
        with _out_told(out):
            out.mkdir(parents=True, exist_ok=True)
            missing = Batch(task, servers.workers, places, stages).run()
    report = f"{hide_password(url).rstrip('/')}/{PAGE}" if url else out / PAGE
    stages.say(f"\n{len(rows) - missing} of {len(rows)} rows are done. Report: {report}")
    if missing:
        stages.say("The same command makes what is missing.")
    return int(missing > 0)


@contextmanager
def _out_told(out: Path) -> Iterator[None]:
    """Names the output folder where record or report cannot be written there."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in FULL
        got = "a full disk" if full else f"{error.strerror or error} ({error.filename or 'a file'})"
        fix = "Free some" if full else "Check its rights, or give another one with --out"
        need = "room for the results" if full else "a folder that can be written to"
        end = f"{fix}, and run the same command again: it does what is missing."
        raise LaunchError(needed(f"output folder {out}", got, need, end)) from error


def read_spread(options: Namespace) -> int | None:
    """Frames of a segment, 0 for the usual; None where clips are not spread.

    Raises LaunchError for options that do not go together.
    """
    if not options.spread:
        if options.segment_frames is not None:
            got, fix = "no --spread", "Give both, or neither."
            raise LaunchError(needed("--segment-frames", got, "--spread too", fix))
        return None
    if options.as_frames:
        got, fix = "--spread too", "Spread clips become videos; leave one of the two out."
        raise LaunchError(needed("--frames", got, "one of the two", fix))
    frames = options.segment_frames or 0
    if frames and not LEAST_SEGMENT <= frames <= MOST_SEGMENT:
        need, fix = f"{LEAST_SEGMENT} to {MOST_SEGMENT}", "81 is what SAMA was released for."
        raise LaunchError(needed("--segment-frames", frames, need, fix))
    return frames


def read_rows(options: Namespace, source: Path, out: Path) -> Found:
    """The rows of the source. Raises LaunchError for values that no edit can have."""
    text = options.instruction or ""
    check_options(Namespace(**{**vars(options), "instruction": text or "none"}), FIRST)
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
        options.weight_dtype,
        options.mask and os.path.abspath(os.path.expanduser(options.mask)),
    )
    if source.suffix.lower() in TABLES and source.is_file():
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
    if source.is_file():
        return Found([Row(1, PurePosixPath(source.name), Clip(source), usual)])
    return folder_rows(source, out, usual, fps)


def tell_plan(
    task: Task, clients: list[Client], options: Namespace, places: Places, stages: Stages
) -> int:
    """Prints the rows, what is done, and how long the rest will take; writes nothing."""
    own = task.out / OWN
    ledger = Ledger(task.results(create=False), own / LEDGER)
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
        f"{_count(todo)} to make. Results: {hide_password(task.url or str(task.out))}"
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
        f"Time: {span(whole.low, whole.high)} of sampling for {_count(edits)} {where} "
        f"({whole.source}). Loading, the VAE and saving come on top."
    )


def _count(edits: list) -> str:
    return f"{len(edits)} edit{'' if len(edits) == 1 else 's'}"


def _source(options: Namespace) -> Path:
    source = Path(os.path.abspath(os.path.expanduser(options.source)))
    is_table = source.suffix.lower() in TABLES
    if source.is_dir() or (source.is_file() and (is_table or options.spread)):
        return source
    got = f"a {source.suffix or 'file'}" if source.exists() else "nothing there"
    raise LaunchError(
        needed(str(source), got, "a folder of clips, a CSV or a JSONL file", "Check the path.")
    )


def _record_of(url: str, places: Places) -> Path:
    """The folder here that has record and report of a batch whose results go behind a URL."""
    return places.runtime / "batches" / sha256(url.encode()).hexdigest()[:16]


def _out(options: Namespace, source: Path) -> Path:
    """The output folder: `--out`, or one beside the source."""
    name = source.name if source.is_dir() else source.stem
    given = options.out or source.parent / f"{name}_sama"
    out = Path(os.path.abspath(os.path.expanduser(given)))
    if out == source or out.is_file():
        got = "the source itself" if out == source else "a file"
        raise LaunchError(needed(f"--out {out}", got, "a folder of its own", "Give another."))
    return out
