# SPDX-License-Identifier: Apache-2.0
"""What test programs report, in the three ways that ours do: Catch2's XML, TAP, or only an exit status."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree

SKIP_STATUS = 77  # as meson has it


@dataclasses.dataclass
class Results:
    """Counts of test cases, and what to show of those that failed."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    details: list = dataclasses.field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.details += other.details

    def fail(self, text):
        self.failed += 1
        self.details.append(text)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def from_status(name, status):
    """A program that tells by its exit status alone is one test case."""
    results = Results()
    if status == 0:
        results.passed = 1
    elif status == SKIP_STATUS:
        results.skipped = 1
    else:
        results.fail(f"{name}: {describe_status(status)}")
    return results


def describe_status(status):
    return f"killed by signal {-status}" if status < 0 else f"ended with status {status}"


def from_tap(name, output, status):
    """Test Anything Protocol: 'ok', 'not ok', '# SKIP', and a plan that must be met."""
    results = Results()
    planned = None
    for line in output.splitlines():
        plan = re.match(r"1\.\.(\d+)", line)
        point = re.match(r"(not )?ok\b[ \d]*(.*)", line)
        if plan:
            planned = int(plan.group(1))
        elif line.startswith("Bail out!"):
            results.fail(f"{name}: {line}")
        elif point and re.search(r"# skip", point.group(2), re.IGNORECASE):
            results.skipped += 1
        elif point and point.group(1):
            results.fail(f"{name}: {point.group(2).lstrip('- ')}")
        elif point:
            results.passed += 1
    seen = results.passed + results.failed + results.skipped
    if planned is None:
        results.fail(f"{name}: printed no plan; {describe_status(status)}")
    elif seen < planned:
        results.fail(f"{name}: {planned - seen} of {planned} tests did not report; {describe_status(status)}")
    elif status and not results.failed:
        results.fail(f"{name}: {describe_status(status)}")
    return results


def from_catch(name, path, status):
    """Catch2's XML report (v2 and v3), also one that a crash cut short."""
    results = Results()
    open_case = None
    parser = ElementTree.XMLPullParser(("start", "end"))
    try:
        with open(path, "rb") as file:
            parser.feed(file.read())
    except FileNotFoundError:
        pass  # it died before it began
    except ElementTree.ParseError:
        pass  # what came before is still read below
    try:
        for event, element in parser.read_events():
            if element.tag != "TestCase":
                continue
            if event == "start":
                open_case = element
                continue
            open_case = None
            overall = element.find("OverallResult")
            if overall is None:
                continue
            if int(overall.get("skips", "0")) and overall.get("success") == "true":
                results.skipped += 1
            elif overall.get("success") == "true":
                results.passed += 1
            else:
                results.fail(f"{name}: {element.get('name')}" + "".join(_catch_failures(element)))
    except ElementTree.ParseError:
        pass
    if open_case is not None:
        results.fail(f"{name}: {open_case.get('name')}: {describe_status(status)} in this test")
    elif status and not results.failed:
        results.fail(f"{name}: {describe_status(status)}")
    return results


def _catch_failures(case):
    for element in case.iter():
        where = f"\n    {element.get('filename')}:{element.get('line')}: "
        if element.tag == "Expression" and element.get("success") == "false":
            yield (f"{where}{element.get('type')}( {(element.findtext('Original') or '').strip()} )"
                   f"\n      with expansion: {(element.findtext('Expanded') or '').strip()}")
            if element.find("Exception") is not None:
                yield f"\n      exception: {(element.findtext('Exception') or '').strip()}"
        elif element.tag in ("Failure", "FatalErrorCondition") or (
                element.tag == "Exception" and element.get("filename")):
            yield f"{where}{element.tag}: {(element.text or '').strip()}"
        elif element.tag == "Info":
            yield f"\n      info: {(element.text or '').strip()}"
