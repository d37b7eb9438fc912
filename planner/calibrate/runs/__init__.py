"""Recorded runs of real servers, replayed: readers, the replay, its errors. Not the table of measured points."""
