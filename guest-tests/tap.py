# SPDX-License-Identifier: Apache-2.0
"""Test points in the Test Anything Protocol, printed as they come."""

import contextlib
import os
import traceback

NO_KVM = "/dev/kvm is not there or may not be used"


def has_kvm():
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


class Tap:
    def __init__(self):
        self._count = 0
        self.failed = 0

    def point(self, good, name, *remarks):
        """Reports one test; the remarks are shown where it failed."""
        self._count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self._count} - {name}", flush=True)
        if not good:
            for remark in remarks:
                for line in str(remark).splitlines():
                    print(f"# {line}", flush=True)
        return good

    def remark(self, text):
        print(f"# {text}", flush=True)

    def skip(self, name, reason):
        self._count += 1
        print(f"ok {self._count} - {name} # SKIP {reason}", flush=True)

    @contextlib.contextmanager
    def step(self, name, guest_lines=lambda: ()):
        """A test that is good when its block ends without an exception. Later steps run in any case."""
        try:
            yield
        except Exception as error:  # pylint: disable=broad-except
            text = str(error) or "".join(traceback.format_exc())
            self.point(False, name, text, *[f"console: {line}" for line in list(guest_lines())[-40:]])
        else:
            self.point(True, name)

    def finish(self):
        print(f"1..{self._count}", flush=True)
        return 1 if self.failed else 0
