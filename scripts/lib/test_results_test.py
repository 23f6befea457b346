#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The counts of scripts/test are only as good as what it reads from the test programs."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import test_results


def counts(results):
    return results.passed, results.failed, results.skipped


def catch(xml, status):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "report.xml")
        with open(path, "w", encoding="ascii") as file:
            file.write(xml)
        return test_results.from_catch("program", path, status)


PASSED = '<TestCase name="good"><OverallResult success="true"/></TestCase>'
FAILED = ('<TestCase name="bad"><Expression success="false" type="REQUIRE" filename="x.cc" line="5">'
          '<Original>x == 4</Original><Expanded>3 == 4</Expanded></Expression>'
          '<OverallResult success="false"/></TestCase>')


class Tap(unittest.TestCase):
    def test_each_kind_of_line_is_counted(self):
        results = test_results.from_tap("t", "1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP none\n# note\nok 4 - d\n", 1)
        self.assertEqual(counts(results), (2, 1, 1))
        self.assertEqual(results.details, ["t: b"])

    def test_tests_that_did_not_report_fail(self):
        self.assertEqual(counts(test_results.from_tap("t", "1..3\nok 1\n", 0)), (1, 1, 0))

    def test_no_output_at_all_fails(self):
        self.assertEqual(counts(test_results.from_tap("t", "", 0)), (0, 1, 0))

    def test_a_status_without_a_failed_line_fails(self):
        self.assertEqual(counts(test_results.from_tap("t", "1..1\nok 1\n", 2)), (1, 1, 0))


class Catch(unittest.TestCase):
    def test_passed_and_failed_cases_are_counted(self):
        results = catch(f"<Catch><Group>{PASSED}{FAILED}</Group></Catch>", 1)
        self.assertEqual(counts(results), (1, 1, 0))
        self.assertIn("3 == 4", results.details[0])

    def test_a_crash_fails_the_case_that_was_running(self):
        results = catch(f'<Catch><Group>{PASSED}<TestCase name="dies">', -11)
        self.assertEqual(counts(results), (1, 1, 0))
        self.assertIn("dies: killed by signal 11", results.details[0])

    def test_a_crash_after_the_last_case_fails(self):
        self.assertEqual(counts(catch(f"<Catch><Group>{PASSED}", 1)), (1, 1, 0))

    def test_a_program_that_wrote_no_report_fails(self):
        self.assertEqual(counts(test_results.from_catch("t", "/nonexistent", 1)), (0, 1, 0))

    def test_no_test_cases_and_status_zero_is_not_a_failure(self):
        self.assertEqual(counts(catch("<Catch><Group></Group></Catch>", 0)), (0, 0, 0))


class Status(unittest.TestCase):
    def test_meson_s_skip_status_is_a_skip(self):
        self.assertEqual(counts(test_results.from_status("t", 77)), (0, 0, 1))


if __name__ == "__main__":
    unittest.main()
