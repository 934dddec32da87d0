"""The embedded model itself: its sizes, its vocabulary and its first weights."""
