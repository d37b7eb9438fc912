"""CLI: the command `serveplan`, one file per command. No logic: each command reads, calls one verb and prints."""
