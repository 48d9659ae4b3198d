"""Start the server inside an enclave: heartbeat, entropy, devices, then as `nobody` for good.

    start.py [--heartbeat-sent]

Runs as root from the boot ramdisk's init, and gives up every privilege before the server,
which is the only program that ever sees a prompt, is loaded. AWS's own init has sent the
heartbeat already, and the parent instance hears only one.
"""

import ctypes
import os
import pathlib
import socket
import sys

from enclave_server.security_module.entropy import mix_entropy
from enclave_server.security_module.nsm import NitroSecurityModule

USER = GROUP = 65534  # nobody: owns nothing and may become nobody else
PARENT_CID, HEARTBEAT_PORT, HEARTBEAT = 3, 9000, b"\xb7"  # what AWS's own init does at boot
HEARTBEAT_SECONDS = 10
PR_SET_NO_NEW_PRIVS = 38
NSM_DESCRIPTOR = 3  # `--nsm fd:3` in the command
HEARTBEAT_SENT = "--heartbeat-sent"
SERVER = pathlib.Path("/etc/oblivious/command")
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/run/oblivious",
    "TMPDIR": "/run/oblivious",
    "LANG": "C.UTF-8",
    "OMP_WAIT_POLICY": "passive",
}


def beat() -> None:
    """Tell the parent instance that the enclave is up; nitro-cli waits for it."""
    with socket.socket(socket.AF_VSOCK) as stream:
        stream.settimeout(HEARTBEAT_SECONDS)
        stream.connect((PARENT_CID, HEARTBEAT_PORT))
        stream.sendall(HEARTBEAT)
        stream.recv(1)


def try_to_beat() -> None:
    """Beat; an enclave that nobody waits for serves all the same."""
    try:
        beat()
    except OSError as error:
        print("START no heartbeat:", error.strerror or "timed out", flush=True)


def lend_security_module() -> None:
    """Open the module for the server under the number that its command names.

    The device stays root's: the embedded engine, which runs as the same user and reads prompts
    with a large C++ program, gets neither the descriptor nor leave to open it.
    """
    os.dup2(os.open("/dev/nsm", os.O_RDWR), NSM_DESCRIPTOR)
    os.set_inheritable(NSM_DESCRIPTOR, True)  # which dup2 does not do where both are one


def drop_privileges() -> None:
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
    if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):  # not by a setuid file either
        raise OSError("the kernel keeps no promise about privileges")


def main() -> None:
    if HEARTBEAT_SENT not in sys.argv[1:]:
        try_to_beat()
    with NitroSecurityModule() as module:
        mix_entropy(module)  # here, because only root may credit the kernel's pool
    lend_security_module()
    for clock in pathlib.Path("/dev").glob("ptp*"):
        clock.chmod(0o444)  # the hypervisor's time, by which the server checks its own
    pathlib.Path("/run/oblivious").mkdir(mode=0o700)
    os.chown("/run/oblivious", USER, GROUP)
    os.chdir("/run/oblivious")
    drop_privileges()
    print("START as", *os.getresuid(), *os.getresgid(), *os.getgroups(), flush=True)
    command = SERVER.read_text().split("\n")[:-1]
    os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 - the measured command, no shell


if __name__ == "__main__":
    main()
