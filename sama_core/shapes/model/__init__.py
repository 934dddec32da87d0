"""The small model itself: its sizes, its vocabulary and its first weights."""
