"""What the servers of other projects are built on: which version of it is installed, and where programs find it."""

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GORILLA = "github.com/gorilla/websocket"
GORILLA_PACKAGE = "golang-github-gorilla-websocket-dev"  # Debian's, which puts it into the next folder
GO_FOLDER = "/usr/share/gocode"


def version_for_python(package: str, library: str = "") -> str:
    """Of a package, which itself needs the system's shared `library`. Raises LookupError, which says what to do."""
    try:
        found = version(package)
    except PackageNotFoundError:
        raise LookupError(f"{package} is not installed: pip install 'chatroom-lib[bench]'") from None
    if library and sys.platform == "linux":
        try:
            ctypes.CDLL(f"{library}.so.1")
        except OSError:
            raise LookupError(f"{package} needs {library}, which is not installed: apt install {library}1") from None
    return found


# ---------------------------------------------------------------- Node


def node_environment() -> dict[str, str]:
    """The environment in which Node finds packages in the current folder, too, and not only beside a script."""
    folders = [str(Path.cwd() / "node_modules"), os.environ.get("NODE_PATH", "")]
    return {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, folders))}


@functools.cache
def version_for_node(package: str) -> str:
    if not shutil.which("node"):
        raise LookupError("node is not installed")
    command = ["node", "-p", f"require({package + '/package.json'!r}).version"]
    if not (found := output_of(command, node_environment())):
        raise LookupError(f"node finds no package {package}: npm install {package}")
    return found


# ---------------------------------------------------------------- Go


def go_environment(folder: str = "") -> dict[str, str]:
    """The environment in which Go finds the distribution's packages, and downloads none. Where it has no folder to
    cache what it compiles, that is in `folder`."""
    path = os.pathsep.join([os.environ.get("GOPATH") or os.path.expanduser("~/go"), GO_FOLDER])
    environment = {**os.environ, "GOPATH": path, "GO111MODULE": "off", "GOFLAGS": ""}
    if folder and not ({"GOCACHE", "XDG_CACHE_HOME", "HOME"} & environment.keys()):
        environment["GOCACHE"] = f"{folder}/go-cache"
    return environment


@functools.cache
def version_for_go() -> str:
    """Of gorilla/websocket and of Go, as "1.5.0, go 1.19.8"."""
    if not shutil.which("go"):
        raise LookupError(f"go is not installed: apt install golang-go {GORILLA_PACKAGE}")
    if not output_of(["go", "list", "-f", "{{.Dir}}", GORILLA], go_environment()):
        raise LookupError(f"go finds no package {GORILLA}: apt install {GORILLA_PACKAGE}")
    go = output_of(["go", "env", "GOVERSION"], go_environment()).removeprefix("go")
    revised = output_of(["dpkg-query", "-W", "-f", "${Version}", GORILLA_PACKAGE], dict(os.environ))
    return f"{revised.partition('-')[0] or 'of unknown version'}, go {go}"


def output_of(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; "" if it fails, does not end, or does not exist."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if answer.returncode else answer.stdout.strip()
