"""Workload -> arrays of requests: presets, distributions, arrival processes, recorded traces. Not what serves them."""

from planner.traffic.draw import Traffic, draw, load, mean_rate, offered
from planner.traffic.presets import Preset, read_presets, shipped
from planner.traffic.stream import Offered, Stream

__all__ = ["Offered", "Preset", "Stream", "Traffic", "draw", "load", "mean_rate", "offered", "read_presets", "shipped"]
