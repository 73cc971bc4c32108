"""The packaging files agree with each other."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.helpers import without

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

# Split, so that this file does not mention them itself.
REGISTRY_ADDRESSES = ["files." + "pythonhosted", "pypi.org/" + "simple", "--index" + "-url"]


def project_requirements() -> dict[str, Requirement]:
    return {req.name: req for req in map(Requirement, PROJECT["dependencies"])}


def tracked_files() -> list[Path]:
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_environment_installs_the_project_itself_and_repeats_no_requirement():
    assert ENVIRONMENT["dependencies"][1:] == ["pip", {"pip": ["-e ."]}]


def test_environment_has_a_python_that_fits():
    (python,) = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str) and "python" in entry]
    assert python.removeprefix("python =") in SpecifierSet(PROJECT["requires-python"])


def test_binder_would_build_the_environment(tmp_path):
    """What repo2docker, Binder's builder, would do; it tells without Docker and without a network."""
    if not importlib.util.find_spec("repo2docker"):
        without("repo2docker", "make extras")
    for path in tracked_files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--user-id=1000", "--user-name=reader", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    (python,) = re.findall(r"Building conda environment for python=(\S+)", told.stderr)
    assert python in SpecifierSet(PROJECT["requires-python"])
    lines = [line for line in told.stdout.splitlines() if not line.startswith("#")]
    (copied,) = [number for number, line in enumerate(lines) if re.match(r"COPY .* src/ \$\{REPO_DIR\}", line)]
    (installed,) = [number for number, line in enumerate(lines) if "env update -p ${NB_PYTHON_PREFIX} --file" in line]
    assert "environment.yml" in lines[installed] and copied < installed  # `-e .` needs the whole project


@pytest.mark.parametrize("python_version", ["3.11", "3.13", "3.14"])
def test_exactly_one_nest_asyncio_applies(python_version):
    nested = [req for name, req in project_requirements().items() if name.startswith("nest-asyncio")]
    assert sum(req.marker.evaluate({"python_version": python_version}) for req in nested) == 1


def test_console_script_is_importable():
    target = EntryPoint("chatroom", PROJECT["scripts"]["chatroom"], "console_scripts")
    assert callable(target.load())


def test_no_lock_file_is_committed():
    names = [path.name for path in tracked_files()]
    assert [n for n in names if n.endswith(".lock") or n.startswith(("pylock", "conda-lock"))] == []


def test_no_tracked_file_mentions_a_registry():
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        for address in REGISTRY_ADDRESSES:
            assert address not in text, f"{path.relative_to(ROOT)} mentions {address}"


def test_license_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_notice_credits_the_original():
    text = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "simple-chatroom" in text and "LinkinStars" in text


@pytest.mark.parametrize("target", ["help", "setup", "lab", "test", "notebooks", "site", "bench", "compare"])
def test_makefile_has_target(target):
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"{target}:") and " ## " in line for line in lines)


@pytest.mark.parametrize("python", ["unfit", "missing"])
def test_make_says_what_to_do_without_a_python_that_fits(python, tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    if python != "missing":  # one that is too old, or has no ensurepip, answers the Makefile's question like this
        (tmp_path / python).write_text("#!/bin/sh\necho No module named ensurepip >&2\nexit 1\n")
        (tmp_path / python).chmod(0o755)
    make = shutil.which("make") or pytest.skip("make is not installed")
    told = subprocess.run(
        [make, "--no-print-directory", "lab", f"PYTHON=./{python}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = told.stderr.splitlines()
    assert told.returncode and "needs Python 3.11 or newer" in line and "make setup PYTHON=" in line
    assert told.stdout == "" and not (tmp_path / ".venv").exists()
