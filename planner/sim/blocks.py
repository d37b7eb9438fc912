"""Blocks of a replica: taken and given back, counted. Not whose they are: `kvcache` and `prefixes`."""

from __future__ import annotations

from typing import Any


def take(replica: Any, blocks: int) -> None:
    """Take `blocks` of a replica; the caller has checked that they are free."""
    replica.free_blocks -= blocks
    replica.blocks_taken += blocks
    replica.peak_blocks = max(replica.peak_blocks, replica.kv_blocks - replica.free_blocks)


def give_back(replica: Any, blocks: int) -> None:
    """Free `blocks` of a replica."""
    replica.free_blocks += blocks
    replica.blocks_given += blocks
