"""Training SAMA on rows of a file: clips, instructions and edits that lie on disk."""
