"""`run.py batch`: many clips on several servers, resumed, with a report. Standard library only.

    SOURCE ─ folder_rows, row_table ─▶ rows ─ clip_digests ─▶ jobs by content and settings
    jobs ─ ledger: not done yet ─▶ Scheduler ─ a thread for each worker ─▶ row_work ─▶ batch_outputs
    batch_outputs ─▶ ledger ─ measuring ─▶ batch_report

    batch_rows       one row: clip, settings, place of the result
    row_table        rows of a CSV or JSONL file
    folder_rows      rows of a folder; numbered_frames: frames that count as one clip
    clip_digests     what a clip is known by: its content, read once
    ledger           what is done, a line each; folder_lock: one batch in a folder at a time
    scheduler        which worker does what, retries, the end; knows nothing of clips
    workers          the servers: how to reach one, and to start it again
    server_choice    which servers, as the options say
    row_work         one edit on one server
    spread_work      one long clip on all servers
    batch_outputs    writing results whole, never over another file
    result_folder    where they lie: here, or behind a URL
    job_process      reads pictures in the environment: frame_jobs
    batch_run        the whole batch
    planned_time     the dry run's time

Other kinds of workers need the four methods of `scheduler.Worker`, and nothing else here.
"""
