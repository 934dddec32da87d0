"""Looking at training data before it is trained on: the task `check`."""
