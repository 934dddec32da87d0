"""How far a training has come, on rows that it never sees: losses at fixed noise, and clips.

    config          the table `[validation]`
    held_out_loss   when it is their turn: loss of every held-out row at every noise level, a line
                    of validation.jsonl
    clips           held-out rows edited by the model as it is, beside source and target, as mp4

The rows themselves come from the kind of data: `rows.held_out` and SAMA-Shapes' own. The averaged
weights are measured, since those are written in the end.
"""
