"""What an edit will cost, told before any weight is read: memory, work, time, and the nearest setting that fits.

    flops.py        work of one call of the model
    weights.py      bytes of the weights, from file headers or for the released model
    machine.py      what a plan has to know of a card and a computer · computer.py asks the system
    request.py      the edit that is planned
    budget.py       what ComfyUI will keep on the card, what it will stream, and whether that works
    seconds.py      time of a step · calibration.py measured points · cards.py published peaks
    advice.py       the nearest settings that fit
    planning.py     all of it for one request · report.py the text
    read_model.py   facts of a model file, and calibrate.py measuring: the two parts that need torch

All but the last two are plain arithmetic, without torch.
"""
