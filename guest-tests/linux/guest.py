# SPDX-License-Identifier: Apache-2.0
"""One run of `vmm run` with a Linux guest whose console is watched line by line."""

import os
import queue
import shlex
import subprocess
import threading
import time


class GuestError(Exception):
    """The guest or the VMM did not do what the scenario needs; the text says what."""


def tool(*command):
    """Runs a tool that is done within five minutes; returns (status, its output)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"), timeout=300)
    except subprocess.TimeoutExpired as error:
        raise GuestError(f"{shlex.join(command)} was not done within {error.timeout} s") from None
    return done.returncode, done.stdout


def require(good, text):
    if not good:
        raise GuestError(text)


def environment_with_passt(directory):
    """The environment for a vmm with --net user. Where guests are tested there may be no network but the loopback: then passt,
    which a script in that new directory starts, takes its addresses from here."""
    os.makedirs(directory)
    script = os.path.join(directory, "passt")
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n[ -n \"$(ip route show default)\" ] || set -- \"$@\" --interface lo --ipv4-only --address 192.0.2.2 "
                   "--netmask 24 --gateway 192.0.2.1 --mac-addr 02:00:00:00:00:fe\n"
                   f"PATH={shlex.quote(os.environ['PATH'])} exec passt \"$@\"\n")
    os.chmod(script, 0o755)
    return dict(os.environ, PATH=f"{directory}:{os.environ['PATH']}")


class Guest:
    """A running vmm. Use as a context manager: leaving it kills what still runs."""

    # The guest's kernel says this last, whatever its log level, before it asks the machine for power off or reset.
    FAREWELL = ("reboot: Power down", "reboot: Restarting system", "reboot: machine restart")

    def __init__(self, command, limit, environment=None, keyboard=False):
        self.command = command
        self.lines = []
        self._commands = 0  # of shell()
        self.unfinished = ""  # what follows the last line: a prompt, perhaps
        self.farewell_at = None
        self.ended_at = None
        self._deadline = time.monotonic() + limit
        self._limit = limit
        self._queue = queue.Queue()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE if keyboard else subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _read(self):
        rest = b""
        while piece := self._process.stdout.read1(65536):
            *lines, rest = (rest + piece).split(b"\n")
            for raw in lines:
                self._queue.put((time.monotonic(), raw.decode(errors="replace").rstrip("\r")))
            self.unfinished = rest.decode(errors="replace")
        if rest:
            self._queue.put((time.monotonic(), rest.decode(errors="replace")))
        self._process.wait()
        self._queue.put((time.monotonic(), None))

    def next_line(self):
        """The next line of the console, or None once vmm has ended."""
        if self.ended_at is not None:
            return None
        try:
            when, line = self._queue.get(timeout=max(0.0, self._deadline - time.monotonic()))
        except queue.Empty:
            raise GuestError(f"nothing more happened within {self._limit} s") from None
        if line is None:
            self.ended_at = when
            return None
        self.lines.append(line)
        if any(text in line for text in self.FAREWELL):
            self.farewell_at = when
        return line

    def wait_for(self, text):
        """Waits for a line that contains text, and returns it."""
        while (line := self.next_line()) is not None:
            if text in line:
                return line
        raise GuestError(f"vmm ended with status {self.status()} before the guest said '{text}'")

    def wait_for_prompt(self, text):
        """Waits until the console ends with a line that contains text and is not finished."""
        while text not in self.unfinished:
            if self._process.poll() is not None:
                raise GuestError(f"vmm ended with status {self.status()} before the guest asked '{text}'")
            if time.monotonic() > self._deadline:
                self.drain()
                raise GuestError(f"no '{text}' within {self._limit} s")
            time.sleep(0.05)
        self.drain()

    def type(self, text):
        """As if somebody had typed it; for a Guest with keyboard=True."""
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def shell(self, command):
        """Types a command for the shell that has asked, and waits until it has ended well. Returns the lines since."""
        self._commands += 1
        begin = len(self.lines)
        # The quotes keep what is typed, which the terminal shows, apart from the answer.
        self.type(f"{command}; echo '--''{self._commands}-' $?\n")
        line = self.wait_for(f"--{self._commands}- ")
        require(line.endswith(" 0"), f"status {line.split()[-1]}: {command}")
        return self.lines[begin:]

    def drain(self):
        """Takes the lines that are there."""
        while not self._queue.empty():
            self.next_line()

    def wait(self):
        """Waits until vmm ends; returns its exit status."""
        while self.next_line() is not None:
            pass
        return self.status()

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        """SIGKILL, as an operator's mistake or the kernel's out-of-memory killer would."""
        self._process.kill()
        return self.wait()

    def status(self):
        return self._process.wait()

    def host_memory(self):
        """What vmm's processes cost the host now, in MiB (PSS)."""
        total, processes = 0, [self._process.pid]
        while processes:
            process = processes.pop()
            with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
                processes += [int(child) for child in file.read().split()]
            with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        return total >> 10

    def find(self, text):
        """The first line seen that contains text; an error without one."""
        for line in self.lines:
            if text in line:
                return line
        raise GuestError(f"the guest never said '{text}'")


def launcher(vmm, kernel, initrd, limit=300):
    """Returns start(disks, command, cpus=1, end='poweroff', own_kernel=False, memory_mib=512, in_place=False, more=(), environment=None) -> Guest.

    own_kernel: the disk's own kernel, initrd and root= are used. in_place: a reboot boots again. more: further flags.
    """
    def start(disks, command, cpus=1, end="poweroff", own_kernel=False, memory_mib=512, in_place=False, more=(), environment=None):
        parameters = f'quiet loglevel=3 panic=-1 vmm.end={end} vmm.cmd="{command}"'
        argv = [vmm, "run", "--mem", str(memory_mib), "--cpus", str(cpus)] + ([] if in_place else ["--no-reboot"])
        if own_kernel:
            argv += ["--loglevel", "info", "--params", parameters]
        else:
            argv += ["--kernel", kernel, "--initrd", initrd, "--params", f"root=/dev/vda1 {parameters}"]
        for disk in disks:
            argv += ["--disk", disk]
        return Guest(argv + list(more), limit, environment)
    assert os.access(vmm, os.X_OK), vmm
    return start
