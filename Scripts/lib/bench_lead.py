"""The lead of the blending benchmarks: it says nothing of any document."""

LEAD = """
These documents were found in the archive.
Each of them is about something else, and some of them may be of no use here. They were written by \
several people over many years: letters, reports, essays, manuals, lists and notes. Some begin in \
the middle of things and some end before their end. Names, dates and numbers are as they were \
written; nothing was changed or left out. Read all of them with care before you answer, and use \
only what they say. The first document is the following one.
"""
