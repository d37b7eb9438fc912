"""Exporters: a plan as configuration files of an engine, registered by name, one file each. They read plans only."""

from planner.export import vllm
from planner.export.base import EXPORTERS, Exporter

__all__ = ["EXPORTERS", "Exporter", "vllm"]
