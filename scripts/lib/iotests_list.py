# SPDX-License-Identifier: Apache-2.0
"""The list of the tests in which vmm's tools are known to differ from QEMU's (iotests.differences)."""

import os

import iotests_run
from log import Failure

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "iotests.differences")


def parse(text):
    """{(format, test): reason} of lines 'TEST FORMAT,FORMAT: reason'; 'all' is every format."""
    listed = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head, colon, reason = line.partition(":")
        words = head.split()
        if not colon or len(words) != 2 or not reason.strip():
            raise Failure(f"iotests.differences, line {number}: not of the form 'TEST FORMAT,...: reason'")
        names = iotests_run.FORMATS if words[1] == "all" else words[1].split(",")
        for name in names:
            if name not in iotests_run.FORMATS:
                raise Failure(f"iotests.differences, line {number}: no format {name}; "
                              f"there are {', '.join(iotests_run.FORMATS)}, all")
            if (name, words[0]) in listed:
                raise Failure(f"iotests.differences, line {number}: {words[0]} is listed for {name} before")
            listed[name, words[0]] = reason.strip()
    return listed


def load():
    with open(PATH, encoding="utf-8") as file:
        return parse(file.read())


def judge(outcome, reason):
    """('ok' | 'not ok' | 'skip', remark) of an outcome, by the reason that is listed (None: none is)."""
    if outcome.kind == "skipped":
        return "skip", outcome.reason
    if outcome.kind == "ok":
        return ("ok", "") if reason is None else ("not ok", f"passes, but is listed as differing ({reason}); take it off the list")
    return ("not ok", outcome.reason) if reason is None else ("skip", f"differs as listed: {reason}")
