# SPDX-License-Identifier: Apache-2.0
"""Whether what a test printed is what QEMU's programs print.

All lines must be the same, except that some things may be told in other words:
- an error about an image or a file: a line 'qemu-img: ...' or 'qemu-io: ...' equals each other one of the same
  program. One that says that we do not know an option or a command is a difference;
- that an image was marked as corrupt;
- what a check found, line by line. How many errors and leaks it counts must be the same.
"""

import difflib
import re

import iotests_rules

MESSAGE = re.compile(r"^(qemu-img|qemu-io): (?P<warning>warning: )?")
MARKED = re.compile(r"^(qcow2: Marking image as corrupt: |vmm: error: the image is corrupt )")
FINDING = re.compile(r"^(ERROR|Leaked cluster|Repairing|Rebuilding|WARNING|The cluster at|Discarding)\b")
# Lines with which QEMU goes on after a message.
MORE_OF_A_MESSAGE = re.compile(r"^(Optional suffix |and exabytes, |Could not open backing image|Try 'qemu-|You can use 'qemu-img|"
                               r"This option is only supported)")
FOLDED = ("(a message)", "(findings)")
# Our words for what we do not know. QEMU's own are other ones, so that no expected output has them.
UNKNOWN = re.compile(r"unknown (option|command|flag|format)|unexpected argument|not expected|is not supported|"
                     r"not one of|does not (know|support|take)|Run with --help", re.IGNORECASE)


def _sections(lines, headings):
    """Without the sections under those headings."""
    kept, dropping = [], False
    for line in lines:
        found = iotests_rules.HEADING.match(line)
        if found:
            dropping = found[1] in headings
        if not dropping:
            kept.append(line)
    return kept


def _words(line, refusals):
    """The line, or what all messages of its kind are equal to."""
    if MARKED.match(line):
        return "(the image is corrupt)"
    if FINDING.match(line):
        return "(findings)"
    found = MESSAGE.match(line)
    if not found or (refusals and UNKNOWN.search(line)):
        return line
    return f"{found[1]}: {found['warning'] or ''}(a message)"


def _fold(lines, refusals):
    """Messages that follow each other count as one: QEMU tells in two lines at times, and so do we."""
    folded = []
    for line in lines:
        if MORE_OF_A_MESSAGE.match(line) and folded and folded[-1].endswith("(a message)"):
            continue
        words = _words(line, refusals)
        if not (folded and words == folded[-1] and words.endswith(FOLDED)):
            folded.append(words)
    return folded


def difference(expected, printed, headings=frozenset()):
    """The lines of a unified diff; none where they are the same."""
    wanted = _sections([line.rstrip() for line in expected.splitlines()], headings)
    seen = _sections([line.rstrip() for line in printed.splitlines()], headings)
    if _fold(wanted, False) == _fold(seen, True):
        return []
    return [line.rstrip() for line in difflib.unified_diff(wanted, seen, "expected", "printed", n=1)]
