"""Work of each operator on one rank: FLOP, bytes, messages, launches. One file per operator; no times."""
