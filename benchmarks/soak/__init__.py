"""Many edits on one server: does its memory stay, are its files gone, is every result right?

cases       clips of changing sizes, the edits that are asked for, what a right result is
reference   the same edits without a server, in a process of its own
clients     edits through the API: one after the other, many at once, one that breaks off
watch       what the server holds after an edit: memory, files, handles
slope       the line through the memory, and the plot
"""
