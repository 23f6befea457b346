#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/comparison.md names tests: each that it names must be in the tree."""

import os
import re
import unittest

ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
SOURCES = ("arch", "devices", "disk", "fuzz", "guest-tests", "vmm")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def sources():
    """The text of every test, and of the files that make targets of them."""
    for top in SOURCES:
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".py", "_test.cc", "meson.build")):
                    yield os.path.relpath(os.path.join(directory, name), ROOT), read(directory, name)


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        text = read("docs", "comparison.md")
        self.table, rest = text.split("## The tests\n")
        self.tests = rest.split("## What was read\n")[0]
        self.files = dict(sources())

    def test_quoted_names_are_names_of_tests(self):
        everything = "\n".join(self.files.values())
        names = re.findall(r'"([^"]+)"', self.tests.replace("\n", " "))
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertIn(re.sub(r"\s*\.\.\.$", "", name), everything)

    def test_programs_are_tests_of_meson(self):
        targets = "\n".join(text for name, text in self.files.items() if name.endswith("meson.build"))
        for name in re.findall(r"`([a-z0-9-]+)`", self.tests):
            if name not in ("unit", "image"):  # suites
                self.assertIn(f"'{name}'", targets)

    def test_scenarios_of_linux_are_there(self):
        known = re.search(r"^ALL = \((.*)\)$", self.files["guest-tests/linux/scenarios.py"], re.MULTILINE).group(1)
        for names in re.findall(r"`linux` ([a-z]+(?:, [a-z]+)?)\b", self.tests):
            for name in names.split(", "):
                self.assertIn(f'"{name}"', known)

    def test_files_are_there(self):
        for name in re.findall(r"[\w./-]+\.(?:py|cc)\b", self.tests):
            found = [path for path in self.files if path.endswith("/" + name)] or os.path.exists(os.path.join(ROOT, name)) \
                or os.path.exists(os.path.join(ROOT, "guest-tests/bare", name))
            self.assertTrue(found, name)

    def test_each_number_is_used_and_explained(self):
        used = {int(number) for number in re.findall(r"\((\d+)\)", self.table)}
        explained = {int(number) for number in re.findall(r"^(\d+)\. ", self.tests, re.MULTILINE)}
        self.assertEqual(used, explained)
        self.assertEqual(used, set(range(1, len(used) + 1)))


if __name__ == "__main__":
    unittest.main()
