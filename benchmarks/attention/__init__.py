"""What approximate attention costs SAMA: `python -m benchmarks.attention` is the command.

The file:
    ran              what ran: seed, clips, steps, versions, machine
    back_ends [{
        back_end, block, method   see `back_ends.py`
        clips                     edited
        video_error, semantic_error
                                  of one call at sigma 0.8 on the exact edit's own state: relative
                                  L2 of both streams' velocities, the mean of the edits
        end_semantic_error        relative L2 of the semantic tokens after the last step
        to_exact_db, to_exact_db_worst
                                  the edit's frames against those with exact attention
        to_truth_db, exact_to_truth_db
                                  both against the true edit
        accuracy                  share nearest, in pixels, to the truth among truth, source and all
                                  wrong edits
    }]
    semantic_rows {back end: error}
                                  relative L2 of the semantic rows' attention at the length of 81
                                  frames of 832x480, for back ends that compute those rows
"""
