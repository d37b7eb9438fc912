"""Azure LLM inference traces: TIMESTAMP,ContextTokens,GeneratedTokens, or t_s,isl,osl in seconds. Not the 2025 formats.

Format: github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023 and 2024 (CC-BY-4.0).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TextIO

from planner.traffic.readers.base import READERS, Columns, Reader, header, read_columns
from planner.traffic.recorded import Recorded


def _seconds(stamp: str) -> float:
    """Seconds of a timestamp; the 100 ns digits beyond microseconds are dropped, a missing zone is UTC."""
    moment = datetime.fromisoformat(stamp.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


PUBLISHED = Columns("timestamp", "contexttokens", "generatedtokens", _seconds)
RELATIVE = Columns("t_s", "isl", "osl")


def recognises(head: str) -> bool:
    """True for either set of columns."""
    return header(head) >= set(PUBLISHED.all) or header(head) >= set(RELATIVE.all)


def read(text: TextIO, file: str) -> Recorded:
    """Rows of either form, times from the first request."""
    first = text.readline()
    text.seek(0)
    columns = RELATIVE if "t_s" in header(first) else PUBLISHED
    return read_columns(text, file, columns).finish()


READERS.register("azure")(Reader("TIMESTAMP,ContextTokens,GeneratedTokens or t_s,isl,osl", recognises, read))
