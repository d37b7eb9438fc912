"""JUnit: checked plans as test cases, the form that every CI system shows. Not the check itself."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from planner.review.difference import Diff


def as_junit(checked: Mapping[str, Diff]) -> str:
    """One test case per plan file; its failure lists what changed."""
    failures = sum(bool(found) for found in checked.values())
    counts = {"tests": str(len(checked)), "failures": str(failures), "errors": "0"}
    top = ElementTree.Element("testsuites", {"name": "serveplan", **counts})
    suite = ElementTree.SubElement(top, "testsuite", {"name": "serveplan check", **counts})
    for file, found in checked.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "serveplan.check", "name": file})
        if found:
            message = f"{len(found.changes)} changes beyond tolerance"
            ElementTree.SubElement(case, "failure", {"message": message}).text = str(found)
    ElementTree.indent(top)
    return ElementTree.tostring(top, encoding="unicode", xml_declaration=True) + "\n"
