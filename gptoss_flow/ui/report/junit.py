"""The report as JUnit's XML: a test case for each step and item, for the views of CI servers."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from gptoss_flow.escape import for_terminal, visible
from gptoss_flow.ui.report.facts import error_line, remarks
from gptoss_flow.ui.report.view import Report, Unit

LONGEST = 10_000
"""Characters of an answer."""


def draw_junit(report: Report) -> str:
    """One suite. Steps that were skipped or cancelled are skipped tests; so is a failure that the run got over,
    with its message: a run that succeeded is to look so. A fan-out, and a flow within, stand in their parts."""
    cases = [_case(unit, report) for root in report.units for unit in _leaves(root)]
    took = report.facts["duration_s"]
    suite = ElementTree.Element("testsuite", {"name": legal(report.name), "tests": str(len(cases))})
    for word, tags in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(word, str(sum(case.find(tags) is not None for case in cases)))
    suite.set("time", f"{took or 0:.3f}")
    if started := report.facts["started_at"]:
        suite.set("timestamp", legal(started))
    properties = ElementTree.SubElement(suite, "properties")
    told = {"run": report.facts["id"], "status": report.status, **report.facts["tokens"]}
    for name, value in told.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": legal(str(value))})
    suite.extend(cases)
    if report.facts["error"]:
        ElementTree.SubElement(suite, "system-err").text = legal(report.facts["error"])
    ElementTree.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suite, encoding="unicode")}\n'


def _leaves(unit: Unit) -> Iterator[Unit]:
    """A step that failed although all its parts did not is one too."""
    told = any(part.step.outcome == "failed" for part in unit.parts)
    if not unit.parts or (unit.step.outcome == "failed" and not told):
        yield unit
    for part in unit.parts:
        yield from _leaves(part)


def _case(unit: Unit, report: Report) -> ElementTree.Element:
    step = unit.step
    case = ElementTree.Element("testcase", {"classname": legal(report.name), "name": legal(step.id)})
    case.set("time", f"{max(0.0, step.duration_s):.3f}")
    match unit.outcome:
        case "failed":
            error = step.error or {}
            tag = "skipped" if report.status == "succeeded" else "failure"
            why = ElementTree.SubElement(case, tag, {"message": legal(error_line(error))})
            if tag == "failure":
                why.set("type", legal(str(error.get("kind", "error"))))
            if at := error.get("at"):
                why.text = legal(str(at))
        case "skipped" | "cancelled":
            ElementTree.SubElement(case, "skipped", {"message": legal(", ".join(remarks(unit)) or unit.outcome)})
        case "running" | "waiting" | "unfinished" | "unreached":
            ElementTree.SubElement(case, "error", {"message": "the record tells no end of it"})
        case _:
            pass
    if answers := [turn.answer.text for turn in unit.history.turns if turn.answer]:
        ElementTree.SubElement(case, "system-out").text = legal(answers[-1][:LONGEST])
    return case


def legal(text: str) -> str:
    """The text with what cannot be seen, or cannot stand in XML at all, made visible."""
    shown = for_terminal(text)
    return "".join(visible(char) if (ord(char) & 0xFFFE) == 0xFFFE else char for char in shown)
