# SPDX-License-Identifier: Apache-2.0
"""Which of QEMU's tests are about its image tools: told from their text, by rule.

A test that starts a virtual machine, a server of QEMU's, or one of its test drivers (blkdebug) is not about
the tools and is skipped. Where only sections of a test do that, between headings of the form '=== Title ===',
those sections are left out of the comparison and the rest counts.
"""

import dataclasses
import re

# What a line of a shell test must not use, and what to call it.
SHELL_NEEDS = (
    ("blkdebug or another test driver of QEMU's", re.compile(r"blkdebug|blkverify|blklogwrites|null-co|null-aio|quorum|throttle")),
    ("a virtual machine of QEMU's", re.compile(r"_launch_qemu|\$\{?QEMU\}?(?=[\s\"'])|\brun_qemu\b|_send_qemu_cmd")),
    ("a server of QEMU's", re.compile(r"\$\{?(QEMU_NBD|QSD)\b|nbd_server_|\bnbd[:+]|driver.*\bnbd\b|http:|ssh:")),
)
PYTHON_NEEDS = (
    ("blkdebug or another test driver of QEMU's", re.compile(r"blkdebug|blkverify|null-co|quorum|throttle")),
    ("a virtual machine of QEMU's", re.compile(r"\bVM\(|\.VM\b|QMPTestCase\b(?=.*launch)|QEMUMachine|QEMUMonitor")),
    ("a server of QEMU's", re.compile(r"QemuStorageDaemon|qemu_nbd|qemu-nbd|\bnbd[:+]")),
)
HEADING = re.compile(r"^\s*(?:echo\s+)?[\"']?(=+ .*? =+|#+ .*? #+)[\"']?\s*$")
FUNCTION = re.compile(r"^(?:function\s+)?(\w+)\s*\(\)")


@dataclasses.dataclass(frozen=True)
class Needs:
    """Why a test is skipped ('' where it is not), and the headings of sections to leave out."""
    reason: str = ""
    headings: frozenset = frozenset()


def _code_lines(text):
    """Without comments, and without the removal of files that may not be there."""
    return [line for line in text.splitlines() if not re.match(r"\s*(#(?!#+ .* #+$)|rm )", line)]


def _need_of(line, needs):
    return next((name for name, pattern in needs if pattern.search(line)), None)


def of_python(text):
    for line in _code_lines(text):
        need = _need_of(line, PYTHON_NEEDS)
        if need:
            return Needs(f"needs {need}")
    return Needs()


def of_shell(text):
    """A need before the first heading, or in a function, is one of the whole test, and so is a machine that lives on
    in later sections."""
    heading, headings, function, launched = None, set(), "", False
    for line in _code_lines(text):
        if HEADING.match(line):
            heading = HEADING.match(line)[1]
            if launched:
                return Needs("needs a virtual machine of QEMU's")
        if FUNCTION.match(line):
            function = FUNCTION.match(line)[1]
        need = _need_of(line, SHELL_NEEDS) if function != "_cleanup" else None
        if need and (heading is None or function or "$" in heading):
            return Needs(f"needs {need}")
        if need:
            headings.add(heading)
            launched = launched or "_launch_qemu" in line
        if line.startswith("}"):
            function = ""
    return Needs("", frozenset(headings))


def of(text):
    return of_python(text) if "python" in text.split("\n", 1)[0] else of_shell(text)


def groups(text):
    found = re.search(r"^# group: (.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def formats(text):
    """The formats that a test names; None where it asks at run time, or takes all but some."""
    shell = re.search(r"^\s*_supported_fmt (.*)$", text, re.MULTILINE)
    python = re.search(r"supported_fmts=\[(.*?)\]", text, re.DOTALL)
    names = shell[1].split() if shell else re.findall(r"[\w-]+", python[1]) if python else None
    return None if not names or "generic" in names else set(names)
