"""Fields: a config.json read by trait, which remembers what was read so that nothing structural is overlooked.

Not the meaning of the traits: that is `import_hf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from planner.catalog.import_hf_tables import HARMLESS, NEUTRAL, SPELLINGS
from planner.errors import BadInput, Problem, Where, did_you_mean

LARGEST = 10**8
"""No count in a config is larger; it keeps a slip from filling the memory."""


class Fields:
    """Typed access to a config; `unread` names the fields that nobody asked for."""

    def __init__(self, config: Mapping[str, Any], file: str = ""):
        self._config = config
        self.file = file
        self._where = Where(file)
        self._read: set[str] = set()

    def raw(self, key: str, default: Any = None) -> Any:
        """The value of one exact field."""
        self._read.add(key)
        value = self._config.get(key)
        return default if value is None else value

    def sub(self, key: str) -> Fields:
        """The fields of a nested object, empty when there is none; `refuse_unread` of it is the caller's to call."""
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            raise self.bad(f"{key}: expected an object, not {value!r}")
        return Fields(value, self.file)

    def get(self, trait: str, default: Any = None) -> Any:
        """The value of a trait under its first known spelling that holds one."""
        self.skip(trait)
        found = [self._config[key] for key in SPELLINGS[trait] if self._config.get(key) is not None]
        return found[0] if found else default

    def number(self, trait: str, default: int | None = None) -> int:
        """A count, 0 allowed only where a default is given; BadInput when it is missing or no whole number."""
        value = self.get(trait, default)
        if value is None:
            raise self.bad(f"{trait} is missing", f"known spellings: {', '.join(SPELLINGS[trait])}")
        return self._whole(trait, value, 1 if default is None else 0)

    def exact(self, key: str, default: int | None = None) -> int:
        """A count under one exact field name."""
        value = self.raw(key, default)
        if value is None:
            raise self.bad(f"{key} is missing")
        return self._whole(key, value, 1 if default is None else 0)

    def _whole(self, name: str, value: Any, least: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
            raise self.bad(f"{name}: expected a whole number, not {value!r}")
        if not least <= value <= LARGEST:
            raise self.bad(f"{name}: {value!r} is not between {least} and {LARGEST}")
        return int(value)

    def word(self, key: str, known: Iterable[str]) -> str:
        """A word out of `known`; empty when the field is not there."""
        value = self.raw(key, "")
        if value and not (isinstance(value, str) and value in known):
            raise self.bad(f"{key} {value!r} is not known", f"known: {', '.join(known)}")
        return str(value) if value else ""

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers; empty when the field is not there."""
        values = self.raw(key, [])
        if not isinstance(values, list):
            raise self.bad(f"{key}: expected a list, not {values!r}")
        return [self._whole(key, value) for value in values]

    def objects(self, key: str) -> list[Fields]:
        """A list of nested objects; empty when the field is not there."""
        values = self.raw(key, [])
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            raise self.bad(f"{key}: expected a list of objects")
        return [Fields(value, self.file) for value in values]

    def words(self, trait: str) -> list[str]:
        """A list of words, or the letters of one; empty when the trait is not there."""
        values = self.get(trait, [])
        if not isinstance(values, list | str) or not all(isinstance(value, str) for value in values):
            raise self.bad(f"{trait}: expected a list of words, not {values!r}")
        return list(values)

    def per_layer(self, key: str, layers: int = 0) -> list[int]:
        """Whole numbers, one per layer at least (`layers` when the object does not say how many); empty without it."""
        values, count = self.numbers(key), self.number("layers", layers)
        if values and len(values) < count:
            raise self.bad(f"{key}: {len(values)} values for {count} layers")
        return values

    def skip(self, *traits: str) -> None:
        """Mark traits as understood although their values do not matter here."""
        for trait in traits:
            self._read.update(SPELLINGS[trait])

    def has(self, trait: str) -> bool:
        return any(self._config.get(key) is not None for key in SPELLINGS[trait])

    def unread(self) -> list[str]:
        neutral = {key for key, off in NEUTRAL.items() if self._config.get(key, off) == off}
        return sorted(set(self._config) - self._read - HARMLESS - neutral)

    def bad(self, what: str, hint: str = "") -> BadInput:
        return BadInput(Problem(what, self._where, hint))

    def refuse_unread(self, harmless: frozenset[str] = frozenset()) -> None:
        """Raise one BadInput that names every field nobody understood; `harmless` adds to the table."""
        known = {key for keys in SPELLINGS.values() for key in keys}
        problems = [
            Problem(f"field {key!r} is not understood", self._where, did_you_mean(key, known - {key}))
            for key in self.unread()
            if key not in harmless
        ]
        if problems:
            raise BadInput(*problems)
