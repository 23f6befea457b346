#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""terminal.py VMM: how `vmm run` treats the terminal, pipes and signals, and the statuses it ends with.

The guests are a few bytes of 32-bit code, made here, which any /dev/kvm runs. Output: TAP.
"""

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))

# pylint: disable=wrong-import-position
from tap import NO_KVM, Tap, has_kvm

LIMIT = 60  # seconds for what takes milliseconds: the machine may be busy
PRINTED = 30000  # bytes that the printing guest sends

# Ports and values as in arch/x86/layout.h and devices/legacy/acpi_pm.h.
POWER_OFF = bytes.fromhex("66ba0406 66b80034 66ef")  # mov dx, 0x604; mov ax, 0x3400; out dx, ax
RESET = bytes.fromhex("66ba0c06 b001 ee")            # mov dx, 0x60c; mov al, 1; out dx, al
PANIC = bytes.fromhex("66ba0505 b001 ee")            # mov dx, 0x505; mov al, 1; out dx, al
EXIT_42 = bytes.fromhex("66ba0105 b02a ee")          # mov dx, 0x501; mov al, 42; out dx, al
LOOP = bytes.fromhex("ebfe")                         # jmp to itself
CRASH = bytes.fromhex("0f0b")                        # ud2, and there is no IDT
FETCH_FROM_DEVICE = bytes.fromhex("b8000000d0 ffe0")  # mov eax, 0xd0000000; jmp eax


def say(letter):
    return bytes.fromhex("66baf803 b0") + letter + b"\xee"  # mov dx, 0x3f8; mov al, letter; out dx, al


# Sends PRINTED bytes, 'a' to 'z' over and over, then powers off.
PRINT = (bytes.fromhex("b9") + struct.pack("<I", PRINTED) +  # mov ecx, PRINTED
         bytes.fromhex("66baf803 b061"      # mov dx, 0x3f8; mov al, 'a'
                       "ee fec0"            # next: out dx, al; inc al
                       "3c7b 7502 b061"     # cmp al, 'z' + 1; jne over; mov al, 'a'
                       "49 75f4")           # over: dec ecx; jnz next
         + POWER_OFF + LOOP)

# Sends 'x' for ever.
PRINT_FOR_EVER = bytes.fromhex("66baf803 b078 ee ebfd")

# Sends '>', then every byte back that it gets, and powers off after a 'q'.
ECHO = (bytes.fromhex("66bafc03 b003 ee")   # raise DTR and RTS
        + say(b">") +
        bytes.fromhex("66bafd03 ec a801 74f7"  # wait: mov dx, 0x3fd; in al, dx; test al, 1; jz wait
                      "66baf803 ec ee"         # mov dx, 0x3f8; in al, dx; out dx, al
                      "3c71 75ed")             # cmp al, 'q'; jne wait
        + POWER_OFF + LOOP)


# Sends '>', takes a byte, and powers off after a 'q'; resets after anything else.
ASK = (bytes.fromhex("66bafc03 b003 ee") + say(b">") +
       bytes.fromhex("66bafd03 ec a801 74f7"  # wait: mov dx, 0x3fd; in al, dx; test al, 1; jz wait
                     "66baf803 ec"            # mov dx, 0x3f8; in al, dx
                     "3c71 750a")             # cmp al, 'q'; jne reset
       + POWER_OFF + RESET + LOOP)


def pvh_kernel(code):
    """An ELF kernel with `code` at 1 MiB, entered there through its PVH note."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x100000)
    headers = 64 + 2 * 56
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 4, 4, headers, 0, 0, len(note), len(note), 4)
    elf += struct.pack("<IIQQQQQQ", 1, 7, headers + len(note), 0x100000, 0x100000, len(code), len(code), 1)
    return elf + note + code


class Run:
    """A running vmm, with its own terminal as stdin (and stdout, unless one is given)."""

    def __init__(self, command, stdout=None):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave if stdout is None else stdout,
                                        stderr=subprocess.PIPE, start_new_session=True,
                                        preexec_fn=self._take_terminal)

    @staticmethod
    def _take_terminal():
        import fcntl  # pylint: disable=import-outside-toplevel
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.master)
        os.close(self.slave)

    def read_until(self, text):
        deadline = time.monotonic() + LIMIT
        while text not in self.output:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in the output within {LIMIT} s: {self.output[-200:]!r}"
            self.output += os.read(self.master, 4096)

    def type(self, keys):
        os.write(self.master, keys)

    def wait(self):
        """The exit status, negative for a signal."""
        return self.process.wait(timeout=LIMIT)

    def stderr(self):
        return self.process.stderr.read().decode(errors="replace")

    def mode(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.mode()[3] & (termios.ICANON | termios.ECHO)

    def wait_for_raw(self, wanted):
        deadline = time.monotonic() + LIMIT
        while self.is_raw() != wanted:
            assert time.monotonic() < deadline, f"the terminal did not become {'raw' if wanted else 'cooked'}"
            time.sleep(0.01)


def same(got, wanted, what):
    assert got == wanted, f"{what}: {got!r}, expected {wanted!r}"


class Cases:
    def __init__(self, vmm, directory):
        self.vmm = vmm
        self.directory = directory
        self.tap = Tap()

    def command(self, code):
        path = os.path.join(self.directory, f"guest-{hash(code) & 0xffffffff:x}")
        with open(path, "wb") as file:
            file.write(pvh_kernel(code))
        return [self.vmm, "run", "-k", path, "-m", "16"]

    def piped(self, code, data=b"", flags=(), **options):
        return subprocess.run(self.command(code) + list(flags), input=data, capture_output=True, timeout=LIMIT, check=False, **options)

    def statuses(self):
        for name, code, status, words, *flags in (
                ("power off ends with status 0", POWER_OFF + LOOP, 0, ()),
                ("a reset ends with status 3 where no reboot is wanted", RESET + LOOP, 3, (), "--no-reboot"),
                ("a panic ends with status 6", PANIC + LOOP, 6, ("panicked",)),
                ("the guest's own status is vmm's where that is wanted", EXIT_42 + LOOP, 42, (), "--debug-exit=0x501"),
                ("and is not where it is not", EXIT_42 + POWER_OFF + LOOP, 0, ()),
                ("a triple fault ends with status 4, and is named with its RIP", CRASH, 4,
                 ("vCPU 0", "triple fault", "KVM_EXIT_SHUTDOWN", "RIP 0x")),
                ("what KVM cannot go on with ends with status 1, and is named", FETCH_FROM_DEVICE, 1,
                 ("vCPU 0", "KVM_EXIT_INTERNAL_ERROR", "RIP 0xd0000000"))):
            with self.tap.step(name):
                done = self.piped(code, flags=flags)
                text = done.stderr.decode()
                same(done.returncode, status, "status")
                same(text.count("\n"), 1 if words else 0, f"lines on stderr ({text})")
                for word in words:
                    assert word in text, f"no '{word}' in: {text}"

    def pipes(self):
        with self.tap.step("a pipe carries every byte to the guest, more than fits its buffer too, Ctrl-a like any other"):
            data = bytes(range(1, 113)) * 100 + b"q"  # without 'q'
            done = self.piped(ECHO, data)
            same(done.returncode, 0, "status")
            same(done.stdout, b">" + data, "echo")
        with self.tap.step("the guest runs on when stdin has ended"):
            same(self.piped(PRINT).returncode, 0, "status")
        with self.tap.step("closed standard descriptors are no obstacle"):
            done = subprocess.run(self.command(PRINT), stdin=subprocess.DEVNULL, timeout=LIMIT, check=False,
                                  preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
            same(done.returncode, 0, "status")
        with self.tap.step("a slow reader gets every byte"):
            with subprocess.Popen(self.command(PRINT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
                time.sleep(0.5)
                got = b""
                while chunk := os.read(process.stdout.fileno(), 1000):
                    got += chunk
                    time.sleep(0.002)
                same(process.wait(timeout=LIMIT), 0, "status")
            wanted = (b"abcdefghijklmnopqrstuvwxyz" * (PRINTED // 26 + 1))[:PRINTED]
            same(len(got), len(wanted), "bytes")
            assert got == wanted, "the bytes are not those that were sent"
        with self.tap.step("a reader that goes away does not end the guest"):
            with subprocess.Popen(self.command(PRINT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                process.stdout.close()
                same(process.wait(timeout=LIMIT), 0, "status")

    def reboots(self):
        with self.tap.step("after a reset the guest boots again, until it ends otherwise"):
            with Run(self.command(ASK)) as run:
                for boot in range(3):
                    run.read_until(b">" * (boot + 1))
                    run.wait_for_raw(True)
                    run.type(b"r" if boot < 2 else b"q")
                same(run.wait(), 0, "status")
                same(run.output.count(b">"), 3, "boots")
                same(run.mode(), run.before, "terminal mode")
        for number, name in ((signal.SIGTERM, "a signal"), (signal.SIGINT, "another signal")):
            with self.tap.step(f"{name} ends a later boot as it does the first"):
                with Run(self.command(ASK)) as run:
                    run.read_until(b">")
                    run.type(b"r")
                    run.read_until(b">>")
                    run.process.send_signal(number)
                    same(run.wait(), 128 + number, "status")
                    same(run.mode(), run.before, "terminal mode")
        with self.tap.step("SIGTSTP and SIGCONT reach a later boot"):
            with Run(self.command(ASK)) as run:
                run.read_until(b">")
                run.type(b"r")
                run.read_until(b">>")
                run.wait_for_raw(True)
                run.process.send_signal(signal.SIGTSTP)
                run.wait_for_raw(False)
                run.process.send_signal(signal.SIGCONT)
                run.wait_for_raw(True)
                run.type(b"\x01x")
                same(run.wait(), 5, "status")
        with self.tap.step("a later boot ends when vmm is killed"):
            with Run(self.command(ASK)) as run:
                run.read_until(b">")
                run.type(b"r")
                run.read_until(b">>")
                run.process.kill()
                run.wait()
                self.wait_for_none_of(run.process.pid)

    def jailed_reboots(self):
        """Each boot in a jail of its own, made by the process that kept its rights."""
        if os.geteuid() != 0:
            return
        jailed = [*self.command(ASK), "--jail"]
        with self.tap.step("--jail: a reset boots again in another jail, and its status is vmm's"):
            with Run(jailed) as run:
                for boot in range(3):
                    run.read_until(b">" * (boot + 1))
                    run.wait_for_raw(True)
                    run.type(b"r" if boot < 2 else b"q")
                same(run.wait(), 0, "status")
                same(run.output.count(b">"), 3, "boots")
                same(run.mode(), run.before, "terminal mode")
        with self.tap.step("--jail: a signal ends a later boot, and no process is left"):
            with Run(jailed) as run:
                run.read_until(b">")
                run.type(b"r")
                run.read_until(b">>")
                run.process.send_signal(signal.SIGTERM)
                same(run.wait(), 128 + signal.SIGTERM, "status")
                self.wait_for_none_of(run.process.pid)
        with self.tap.step("--jail: a later boot ends when vmm is killed"):
            with Run(jailed) as run:
                run.read_until(b">")
                run.type(b"r")
                run.read_until(b">>")
                run.process.kill()
                run.wait()
                self.wait_for_none_of(run.process.pid)

    def wait_for_none_of(self, leader):
        deadline = time.monotonic() + LIMIT
        while pids := self.session_of(leader):
            assert time.monotonic() < deadline, f"processes are left: {pids}"
            time.sleep(0.05)

    @staticmethod
    def session_of(leader):
        """Processes of the session that `leader` began, and that have not ended."""
        pids = []
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                    state, _, _, session = file.read().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(session) == leader and state != "Z":
                pids.append(int(entry))
        return pids

    def keys(self):
        with self.tap.step("the terminal is raw while the guest runs, and as before afterwards"):
            with Run(self.command(ECHO)) as run:
                run.read_until(b">")
                assert run.is_raw(), "it is not raw"
                run.type(b"hello\x03\x1aq")  # Ctrl-c and Ctrl-z are the guest's
                same(run.wait(), 0, "status")
                run.read_until(b">hello\x03\x1aq")
                same(run.mode(), run.before, "terminal mode")
        with self.tap.step("Ctrl-a ? helps, Ctrl-a Ctrl-a sends one Ctrl-a, Ctrl-a x ends with status 5"):
            with Run(self.command(ECHO)) as run:
                run.read_until(b">")
                run.type(b"\x01?")
                run.read_until(b"Ctrl-a x")
                run.type(b"\x01\x01b")
                run.read_until(b"\x01b")
                run.type(b"\x01")
                run.type(b"x")
                same(run.wait(), 5, "status")
                same(run.mode(), run.before, "terminal mode")
        with self.tap.step("Ctrl-a x is heard while nobody reads the output"):
            reader, writer = os.pipe()
            with Run(self.command(PRINT_FOR_EVER), stdout=writer) as run:
                run.wait_for_raw(True)
                time.sleep(1)
                started = time.monotonic()
                run.type(b"\x01x")
                same(run.wait(), 5, "status")
                assert time.monotonic() - started < 10, "it took more than 10 s"
                same(run.mode(), run.before, "terminal mode")
            os.close(reader)
            os.close(writer)

    def signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.tap.step(f"{number.name} ends with status {128 + number}, and the terminal is as before"):
                with Run(self.command(say(b"r") + LOOP)) as run:
                    run.read_until(b"r")
                    run.process.send_signal(number)
                    same(run.wait(), 128 + number, "status")
                    same(run.mode(), run.before, "terminal mode")
        with self.tap.step("the terminal is as before after abort()"):
            with Run(self.command(say(b"r") + LOOP)) as run:
                run.read_until(b"r")
                run.process.send_signal(signal.SIGABRT)
                same(run.wait(), -signal.SIGABRT, "status")
                same(run.mode(), run.before, "terminal mode")
        with self.tap.step("SIGTSTP gives the terminal back, SIGCONT takes it again"):
            with Run(self.command(say(b"r") + LOOP)) as run:
                run.read_until(b"r")
                run.process.send_signal(signal.SIGTSTP)
                run.wait_for_raw(False)
                run.process.send_signal(signal.SIGCONT)
                run.wait_for_raw(True)
                run.type(b"\x01x")
                same(run.wait(), 5, "status")
                same(run.mode(), run.before, "terminal mode")


def main():
    if not has_kvm():
        print(f"1..0 # SKIP {NO_KVM}")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        cases = Cases(os.path.abspath(sys.argv[1]), directory)
        cases.statuses()
        cases.pipes()
        cases.reboots()
        cases.jailed_reboots()
        cases.keys()
        cases.signals()
        return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
