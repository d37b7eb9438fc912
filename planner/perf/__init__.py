"""Physics of one engine step: work of the operators, their time, memory, power. It knows no requests, no clock."""
