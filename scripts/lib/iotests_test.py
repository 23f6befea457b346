#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How scripts/iotests chooses among QEMU's tests and judges what they print."""

import unittest

import iotests_compare
import iotests_list
import iotests_rules
import iotests_run
import log

SHELL = "#!/usr/bin/env bash\n"


class Rules(unittest.TestCase):
    def test_a_test_that_starts_a_machine_at_once_is_left_out(self):
        self.assertIn("virtual machine", iotests_rules.of(SHELL + "_launch_qemu -drive x\n").reason)

    def test_reading_the_helpers_for_machines_is_no_need(self):
        self.assertEqual(iotests_rules.of(SHELL + ". ./common.qemu\n$QEMU_IO -c quit\n"), iotests_rules.Needs())

    def test_a_name_in_a_comment_or_in_the_cleanup_is_no_need(self):
        text = SHELL + "# like blkdebug\n_cleanup()\n{\n    nbd_server_stop\n}\nrm -f blkdebug.conf\n"
        self.assertEqual(iotests_rules.of(text), iotests_rules.Needs())

    def test_sections_with_a_need_are_left_out_and_the_rest_counts(self):
        text = SHELL + 'echo "=== One ==="\n$QEMU_IO x\necho "=== Two ==="\n$QEMU_IO blkdebug::x\n'
        self.assertEqual(iotests_rules.of(text), iotests_rules.Needs("", frozenset({"=== Two ==="})))

    def test_a_machine_that_lives_on_in_a_later_section_is_a_need_of_the_whole_test(self):
        text = SHELL + "echo '=== One ==='\n_launch_qemu\necho '=== Two ==='\n_check_test_img\n"
        self.assertIn("virtual machine", iotests_rules.of(text).reason)

    def test_a_need_in_a_function_is_one_of_the_whole_test(self):
        text = SHELL + "echo '== A =='\nrun()\n{\n    $QEMU -nodefaults\n}\necho '== B =='\nrun\n"
        self.assertIn("virtual machine", iotests_rules.of(text).reason)

    def test_python_tests_that_use_a_machine_or_a_server_are_left_out(self):
        python = "#!/usr/bin/env python3\n"
        self.assertIn("machine", iotests_rules.of(python + "vm = iotests.VM()\n").reason)
        self.assertIn("server", iotests_rules.of(python + "qemu_nbd('-f', 'raw')\n").reason)
        self.assertEqual(iotests_rules.of(python + "iotests.qemu_img('info', x)\n").reason, "")

    def test_formats_and_groups_are_read(self):
        self.assertEqual(iotests_rules.formats("_supported_fmt qcow qcow2\n"), {"qcow", "qcow2"})
        self.assertIsNone(iotests_rules.formats("_supported_fmt generic\n"))
        self.assertEqual(iotests_rules.formats("main(supported_fmts=['raw',\n 'qcow2'])"), {"raw", "qcow2"})
        self.assertEqual(iotests_rules.groups("# group: rw quick\n"), {"rw", "quick"})


class Comparison(unittest.TestCase):
    def test_the_same_lines_do_not_differ_and_spaces_at_their_ends_do_not_count(self):
        self.assertEqual(iotests_compare.difference("a \nb\n", "a\nb\n"), [])

    def test_another_value_differs(self):
        self.assertTrue(iotests_compare.difference("read 1/1\n", "read 1/2\n"))

    def test_errors_may_use_other_words(self):
        self.assertEqual(iotests_compare.difference("qemu-img: Could not open 'x': Is gone\n", "qemu-img: x: no such file\n"), [])

    def test_an_error_of_two_lines_equals_one_of_one_line(self):
        self.assertEqual(iotests_compare.difference("qemu-img: a\nqemu-img: b\nend\n", "qemu-img: c\nend\n"), [])

    def test_what_qemu_adds_to_an_error_belongs_to_it(self):
        self.assertEqual(iotests_compare.difference("qemu-img: a\nTry 'qemu-img --help' for more\nend\n", "qemu-img: b\nend\n"), [])

    def test_a_missing_error_differs(self):
        self.assertTrue(iotests_compare.difference("qemu-img: a\nend\n", "end\n"))

    def test_a_check_may_tell_what_it_found_in_other_words_but_not_how_much(self):
        expected = "ERROR cluster 5 refcount=0 reference=1\nERROR OFLAG_COPIED x\n\n2 errors were found\n"
        self.assertEqual(iotests_compare.difference(expected, "ERROR this and that\n\n2 errors were found\n"), [])
        self.assertTrue(iotests_compare.difference(expected, "ERROR this and that\n\n1 errors were found\n"))
        self.assertTrue(iotests_compare.difference(expected, "\n2 errors were found\n"))

    def test_a_warning_is_no_error(self):
        self.assertTrue(iotests_compare.difference("qemu-img: warning: a\n", "qemu-img: a\n"))

    def test_an_option_that_we_do_not_know_differs_from_an_error_about_a_file(self):
        self.assertTrue(iotests_compare.difference("qemu-img: a\n", "qemu-img: unknown option --force-share\n"))

    def test_sections_left_out_are_not_compared(self):
        expected = "== One ==\na\n== Two ==\nb\n== Three ==\nc\n"
        printed = "== One ==\na\n== Two ==\nother\n== Three ==\nc\n"
        self.assertTrue(iotests_compare.difference(expected, printed))
        self.assertEqual(iotests_compare.difference(expected, printed, frozenset({"== Two =="})), [])


class Listing(unittest.TestCase):
    def judge(self, kind, reason):
        return iotests_list.judge(iotests_run.Outcome(kind, "why"), reason)[0]

    def test_an_outcome_is_held_against_the_list(self):
        self.assertEqual(self.judge("ok", None), "ok")
        self.assertEqual(self.judge("differs", None), "not ok")
        self.assertEqual(self.judge("differs", "missing: x"), "skip")
        self.assertEqual(self.judge("skipped", None), "skip")

    def test_a_test_that_is_listed_and_passes_fails(self):
        self.assertEqual(self.judge("ok", "missing: x"), "not ok")

    def test_lines_name_a_test_formats_and_a_reason(self):
        listed = iotests_list.parse("# comment\n\n060 qcow2,raw: missing: x\n061 all: y\n")
        self.assertEqual(listed["qcow2", "060"], "missing: x")
        self.assertEqual(listed["raw", "060"], "missing: x")
        self.assertEqual(listed["qcow", "061"], "y")
        self.assertEqual(len(listed), 2 + len(iotests_run.FORMATS))

    def test_bad_lines_are_refused(self):
        for text in ("060: reason\n", "060 qcow2\n", "060 qcow2:\n", "060 qcow3: x\n", "060 qcow2: x\n060 all: y\n"):
            with self.assertRaises(log.Failure, msg=text):
                iotests_list.parse(text)

    def test_the_list_in_the_tree_is_read(self):
        for reason in iotests_list.load().values():
            self.assertTrue(reason)


if __name__ == "__main__":
    unittest.main()
