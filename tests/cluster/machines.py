"""Machines without a cloud: a set of Linux namespaces each, with its own address and sshd inside.

Needs root, openssh-server, rsync and iproute2. A machine shares the disk with this one, except for
/tmp, /run, /dev/shm and the home folder, which are its own and empty (but for this Python).
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_BRIDGE = "jrbr0"

_BOOT = """\
set -e
mount --make-rprivate /
own() {{  # own FOLDER MODE KEPT...: an empty disk there, in which KEPT stay what they are
    place=$1; mount -t tmpfs -o mode=$2 tmpfs {folder}/mnt; shift 2
    for kept; do
        mkdir -p "{folder}/mnt/$kept"; mount --bind "$place/$kept" "{folder}/mnt/$kept"
    done
    mount --move {folder}/mnt "$place"
}}
own "$HOME" 755 {kept_home}
hostname {name}
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip addr add {ip}/{prefix} dev eth0
for more in {public}; do ip addr add $more/32 dev eth0; done
ip link set eth0 up
# Ray takes the address that leads to the world for its own: without a route that is 127.0.0.1.
ip route add default via {gateway} src {ip}
mkdir -p -m 700 "$HOME/.ssh"
cp {folder}/{name}.keys "$HOME/.ssh/authorized_keys"
cp {folder}/host_key {folder}/host_key.pub "$HOME/.ssh/"
chmod 600 "$HOME/.ssh/host_key"
own /tmp 1777 {kept_tmp}
for place in /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $place; done
mkdir -p -m 755 /run/sshd
{first}
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

    def __init__(self, name: str, ip: str, script: Path, cable: str) -> None:
        self.name, self.ip = name, ip
        self._cable = cable
        self._log = open(script.with_suffix(".log"), "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork"),
                *("--kill-child", "--mount-proc", "bash", str(script)),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(Path.home()), "USER": "root"},
        )
        deadline = time.monotonic() + 30
        while not (found := _children(self._process.pid)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} does not boot")
            time.sleep(0.02)
        self.pid = found[0]
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", f"{cable}p")
        _run("ip", "link", "set", cable, "master", _BRIDGE, "up")
        _run("ip", "link", "set", f"{cable}p", "netns", str(self.pid), "name", "eth0")

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
    """A bridge with machines on it; use it as a context manager. This machine is on it too, as the
    last address of ``cidr``."""

    def __init__(self, folder: Path, cidr: str = "10.213.77.0/24") -> None:
        self._net = ipaddress.ip_network(cidr)
        self.folder = folder
        self.gateway = str(self._net[-2])
        self.key = folder / "key"
        self.machines: list[Machine] = []
        self._numbers = itertools.count(10)

    def __enter__(self) -> Network:
        (self.folder / "mnt").mkdir()
        for name in ("key", "host_key"):
            path = str(self.folder / name)
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        # An address of its own: else it changes with the machines' cables, and what the others
        # remember of it is wrong for up to a minute.
        _run("ip", "link", "add", _BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
        _run("ip", "addr", "add", f"{self.gateway}/{self._net.prefixlen}", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.power_off()
        _run("ip", "link", "del", _BRIDGE, ok=False)

    def boot(
        self, name: str, ip: str | None = None, *, public: str = "", keys: str = "", first: str = ""
    ) -> Machine:
        """A new machine; returns once its sshd answers.

        Args:
            name: Its hostname.
            ip: Its address on this network; chosen where it is None.
            public: An address that only this machine and itself know, as a cloud's NAT gives one.
            keys: Public keys that may log in besides the network's own.
            first: What its shell does before sshd starts.
        """
        number = next(self._numbers)
        ip = ip or str(self._net[number])
        (self.folder / f"{name}.keys").write_text(
            f"{self.key.with_suffix('.pub').read_text()}{keys}\n"
        )
        script = self.folder / f"{name}.sh"
        script.write_text(
            _BOOT.format(
                **{"name": name, "ip": ip, "prefix": self._net.prefixlen, "public": public},
                **{"gateway": self.gateway, "folder": self.folder, "first": first},
                kept_home=_kept_below(Path.home()),
                kept_tmp=_kept_below(Path("/tmp")),
            )
        )
        machine = Machine(name, ip, script, f"jrve{number}")
        self.machines.append(machine)
        if public:
            _run("ip", "route", "replace", f"{public}/32", "dev", _BRIDGE)
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


def _kept_below(place: Path) -> str:
    """The folders in ``place`` that this Python and this checkout lie in."""
    root = Path(__file__).parents[2]
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), root}
    return " ".join(
        sorted({p.relative_to(place).parts[0] for p in prefixes if p.is_relative_to(place)})
    )


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(part) for part in text.split()]


def _run(*command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=ok, capture_output=True, text=True, timeout=120)
