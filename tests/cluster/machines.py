"""Machines without a cloud: a set of Linux namespaces each, with its own address and sshd inside.

Needs root, openssh-server, rsync and iproute2. A machine shares the disk with this one, except for
/tmp, /run, /dev/shm and the home folder, which are its own and empty.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NETWORK = "10.213.77"
GATEWAY = f"{NETWORK}.1"
_BRIDGE = "jrbr0"

_BOOT = """\
set -e
mount --make-rprivate /
new=$(mktemp -d)
mount -t tmpfs tmpfs "$new"
for kept in {kept}; do mkdir -p "$new/$kept"; mount --bind "$HOME/$kept" "$new/$kept"; done
mount --move "$new" "$HOME"
hostname {name}
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip addr add {ip}/24 dev eth0
ip link set eth0 up
# Ray takes the address that leads to the world for its own: without a route that is 127.0.0.1.
ip route add default via {gateway}
mkdir -p -m 700 "$HOME/.ssh"
cp {folder}/key.pub "$HOME/.ssh/authorized_keys"
cp {folder}/host_key {folder}/host_key.pub "$HOME/.ssh/"
chmod 600 "$HOME/.ssh/host_key"
for place in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $place; done
mkdir -p -m 755 /run/sshd
/usr/sbin/sshd -f /dev/null -h "$HOME/.ssh/host_key" -o UsePAM=no -o PermitRootLogin=yes \\
    -o StrictModes=no -o PasswordAuthentication=no -o PidFile=none -o MaxSessions=100 \\
    -o MaxStartups=100
while true; do sleep 1000; done
"""


def why_impossible() -> str | None:
    """Why there can be no such machines here; None: there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    missing = [tool for tool in ("ip", "unshare", "rsync", "ssh-keygen") if not shutil.which(tool)]
    if not Path("/usr/sbin/sshd").exists():
        missing.append("sshd")
    if missing:
        return f"not installed: {', '.join(missing)}"
    done = _run(
        "unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true", ok=False
    )
    return None if done.returncode == 0 else f"namespaces are forbidden: {done.stderr.strip()}"


class Machine:
    """One running machine."""

    def __init__(self, name: str, number: int, folder: Path) -> None:
        self.name, self.ip = name, f"{NETWORK}.{number}"
        self._cable = f"jrve{number}"
        home = Path.home()
        prefixes = [Path(p) for p in {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])}]
        kept = {p.relative_to(home).parts[0] for p in prefixes if p.is_relative_to(home)}
        script = folder / f"{name}.sh"
        script.write_text(
            _BOOT.format(
                name=name, ip=self.ip, gateway=GATEWAY, folder=folder, kept=" ".join(sorted(kept))
            )
        )
        self._log = open(folder / f"{name}.log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork"),
                *("--kill-child", "--mount-proc", "bash", str(script)),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "USER": "root"},
        )
        deadline = time.monotonic() + 30
        while not (found := _children(self._process.pid)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} does not boot")
            time.sleep(0.02)
        self.pid = found[0]
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", f"{self._cable}p")
        _run("ip", "link", "set", self._cable, "master", _BRIDGE, "up")
        _run("ip", "link", "set", f"{self._cable}p", "netns", str(self.pid), "name", "eth0")

    def pull_cable(self) -> None:
        """From now on nothing reaches it and it reaches nothing."""
        _run("ip", "link", "set", self._cable, "down")

    def plug_in(self) -> None:
        """Undo ``pull_cable``."""
        _run("ip", "link", "set", self._cable, "up")

    def processes(self) -> list[str]:
        """Command lines of what runs in it."""
        done = _run("nsenter", "-t", str(self.pid), "-p", "-m", "ps", "-eo", "args", ok=False)
        return done.stdout.splitlines()

    def power_off(self) -> None:
        """The end of all its processes, at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)
        self._log.close()
        _run("ip", "link", "del", self._cable, ok=False)


class Network:
    """A bridge with machines on it; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.machines: list[Machine] = []

    def __enter__(self) -> Network:
        for name in ("key", "host_key"):
            path = str(self.folder / name)
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.power_off()
        _run("ip", "link", "del", _BRIDGE, ok=False)

    def boot(self, name: str) -> Machine:
        """A new machine; returns once its sshd answers."""
        machine = Machine(name, 10 + len(self.machines), self.folder)
        self.machines.append(machine)
        deadline = time.monotonic() + 60
        while self.ssh(machine, "true", ok=False).returncode != 0:
            if time.monotonic() > deadline:
                log = (self.folder / f"{name}.log").read_text()
                raise TimeoutError(f"{name}'s sshd does not answer: {log}")
            time.sleep(0.2)
        return machine

    def ssh(
        self, machine: Machine, command: str, ok: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return _run(*self.ssh_command(machine), command, ok=ok)

    def ssh_command(self, machine: Machine, *options: str) -> list[str]:
        """``ssh`` to it, to be followed by a command."""
        return [
            *("ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", *options),
            f"root@{machine.ip}",
        ]


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(part) for part in text.split()]


def _run(*command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=ok, capture_output=True, text=True, timeout=120)
