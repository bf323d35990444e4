"""A Slurm of our own on this one machine: two pretended nodes, for as long as a test needs them.

Nothing outside its folder is touched: key, sockets, states and logs lie there, and every program
finds them through ``SLURM_CONF``. It takes root, because Slurm's daemons start jobs for others.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
PACKAGES = ("slurm-wlm", "munge")
NODES = ("one", "two")
PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"
START_S = 60


def missing_programs() -> list[str]:
    """Return what Slurm needs and is not here."""
    path = f"{os.environ.get('PATH', '')}:{PLACES}"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def why_not() -> str:
    """Return why there cannot be a Slurm here, after trying to install it; nothing if it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    if missing_programs() and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=environment, capture_output=True, check=False)
    missing = missing_programs()
    if missing:
        return f"{', '.join(missing)} missing; Debian has them in {' and '.join(PACKAGES)}"
    return ""


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def configuration(folder: Path, cpus: int, memory_mb: int) -> str:
    """Return slurm.conf: memory is watched every second, and who takes too much is killed."""
    controller, *nodes = free_ports(1 + len(NODES))
    host = socket.gethostname().partition(".")[0]
    values = {
        "ClusterName": "pretended",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": controller,
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "CryptoType": "crypto/munge",
        "StateSaveLocation": folder / "controller",
        "SlurmdSpoolDir": folder / "spool-%n",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd-%n.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd-%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "AccountingStorageType": "accounting_storage/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SchedulerParameters": "sched_interval=2,batch_sched_delay=0,sched_min_interval=0",
        "SlurmdParameters": "config_overrides",
        "ReturnToService": 2,
        "KillWait": 5,
        "OverTimeLimit": 0,
        "MinJobAge": 30,
        "PropagateResourceLimits": "NONE",
    }
    lines = [f"{key}={value}" for key, value in values.items()]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        f"RealMemory={memory_mb} State=UNKNOWN"
        for name, port in zip(NODES, nodes, strict=True)
    ]
    lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


@contextmanager
def running(folder: Path, *, cpus: int = 2, memory_mb: int = 8000) -> Iterator[Mapping[str, str]]:
    """Start munge and Slurm, and stop them in the end.

    Yields
    ------
    mapping
        The environment in which ``sbatch`` and the others talk to this Slurm.
    """
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name in ("controller", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(configuration(folder, cpus, memory_mb))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    path = f"{os.environ.get('PATH', '')}:{PLACES}"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("ab") as out:
            started.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))

    try:
        start(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"),
            *(f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munged.log"),
        )
        _wait((folder / "munge.socket").exists, folder)
        start("slurmctld", "-D")
        for name in NODES:
            start("slurmd", "-D", "-N", name)
        ask = ["sinfo", "--noheader", "--Node", "--format=%T"]
        _wait(lambda: _output(ask, environment).split() == ["idle"] * len(NODES), folder)
        yield environment
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _output(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout


def _wait(is_ready, folder: Path) -> None:
    end = time.monotonic() + START_S
    while not is_ready():
        if time.monotonic() > end:
            logs = [path.read_text(errors="replace")[-1000:] for path in folder.glob("*.log")]
            logs += [path.read_text(errors="replace")[-1000:] for path in folder.glob("*.out")]
            raise TimeoutError("\n".join(logs))
        time.sleep(0.2)
