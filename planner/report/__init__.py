"""Report: a plan for people. Reads Plan only; computes nothing that a plan does not hold."""
