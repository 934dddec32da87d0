"""What an edit will cost, computed before any weight is read: memory, work, time, and what fits.

    request.py       the edit that is planned, the memory and the operations it needs
    weight_bytes.py  bytes of the weights, from file headers or for the released model
    machine.py       the card and the computer; the peaks that makers publish for cards
    budget.py        what ComfyUI will keep on the card, what it will stream, whether that works
    seconds.py       measured speeds, and the time of a step
    planning.py      one plan for one request, and the nearest settings that fit
    summary.py       the plan as text
    train_request.py, train_law.py, train_plan.py, train_summary.py   the same of a training
    read_model.py    facts of a model file; calibrate.py measures speed. These two need torch.

All but the last two are plain arithmetic, without torch.
"""
