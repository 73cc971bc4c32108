"""What GitHub would run, as far as this machine can tell: no builder of GitHub's is here."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.test_packaging import PROJECT

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = {
    path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # else `on` is True, and 3.10 is 3.1
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
STEP = {"name", "id", "uses", "with", "run"}
JOB = {"needs", "runs-on", "timeout-minutes", "strategy", "permissions", "environment", "steps"}


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow: dict) -> list[str]:
    return [line for step in steps(workflow) for line in step.get("run", "").splitlines()]


def test_there_are_two():
    assert set(WORKFLOWS) == {"tests", "book"}


@each_workflow
def test_it_has_the_keys_that_github_knows(workflow):
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert set(workflow["on"]) <= {"push", "pull_request", "workflow_dispatch"}
    for job in workflow["jobs"].values():
        assert set(job) <= JOB and job["runs-on"] == "ubuntu-latest" and int(job["timeout-minutes"]) <= 60
        assert set([job["needs"]] if "needs" in job else []) <= set(workflow["jobs"])
    for step in steps(workflow):
        assert set(step) <= STEP and ("uses" in step) + ("run" in step) == 1


@each_workflow
def test_it_uses_actions_of_github_alone_each_of_one_major_version(workflow):
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)


@each_workflow
def test_it_may_only_read_except_for_the_job_that_publishes(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == ({"pages": "write", "id-token": "write"} if name == "deploy" else {})


@each_workflow
def test_each_target_that_it_makes_is_in_the_makefile(workflow):
    targets = re.findall(r"^(\w+):.* ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    made = [line.split()[1] for line in commands(workflow) if line.startswith("make ")]
    assert made and set(made) <= set(targets)


@each_workflow
def test_its_pythons_fit(workflow):
    pythons = {step["with"]["python-version"] for step in steps(workflow) if "setup-python" in step.get("uses", "")}
    for job in workflow["jobs"].values():
        pythons |= set(job.get("strategy", {}).get("matrix", {}).get("python", []))
    wanted = SpecifierSet(PROJECT["requires-python"])
    assert pythons and all(re.fullmatch(r"3\.x|\$\{\{.*\}\}", python) or python in wanted for python in pythons)


def test_the_tests_are_run_as_before_a_change_is_accepted():
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.findall(r"^(?:exec )?(make \w+)", gate, flags=re.MULTILINE) == commands(WORKFLOWS["tests"])[-3:]
    assert "3.11" in WORKFLOWS["tests"]["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_the_book_is_published_from_where_make_site_puts_it():
    (upload,) = [step for step in steps(WORKFLOWS["book"]) if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == "build/site"
    assert f". {upload['with']['path']}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    (publish,) = WORKFLOWS["book"]["jobs"]["deploy"]["steps"]
    assert publish["uses"].startswith("actions/deploy-pages@")
    assert f"steps.{publish['id']}.outputs.page_url" in WORKFLOWS["book"]["jobs"]["deploy"]["environment"]["url"]
