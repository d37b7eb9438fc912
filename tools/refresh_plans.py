"""Plan every scenario that ships, write scenarios/plans/*.json, the editors' schema and the plan in the README.

    python tools/refresh_plans.py [NAME...]

Run it when a change is meant to move plans; the difference it makes is reviewed like code.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from planner import load_scenario, plan, read_plan, write_plan
from planner.catalog import json_schema
from planner.report.terminal import as_text

ROOT = Path(__file__).parents[1]
SCENARIOS, PLANS, README = ROOT / "scenarios", ROOT / "scenarios" / "plans", ROOT / "README.md"
SCHEMA = SCENARIOS / "scenario.schema.json"
SHOWN = "quickstart"
WIDTH = 100


def refresh(file: Path) -> None:
    start = time.perf_counter()
    write_plan(plan(load_scenario(file), jobs=os.cpu_count() or 1), PLANS / f"{file.stem}.json")
    print(f"{file.stem}: {time.perf_counter() - start:.1f} s", flush=True)


def shown(readme: str) -> str:
    """The README with the plan of SHOWN between its marks."""
    text = as_text(read_plan(PLANS / f"{SHOWN}.json"), WIDTH, color=False).rstrip()
    block = f"<!-- plan: scenarios/plans/{SHOWN}.json -->\n```text\n{text}\n```\n<!-- end of plan -->"
    return re.sub(r"<!-- plan: .*?<!-- end of plan -->", lambda _: block, readme, flags=re.DOTALL)


def main() -> None:
    wanted = sys.argv[1:] or [file.stem for file in sorted(SCENARIOS.glob("*.yaml"))]
    for name in wanted:
        refresh(SCENARIOS / f"{name}.yaml")
    SCHEMA.write_text(json.dumps(json_schema("scenario"), indent=1) + "\n", encoding="utf-8")
    README.write_text(shown(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
