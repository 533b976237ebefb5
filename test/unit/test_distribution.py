# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Workflows, containers, citation and documentation site: their form, as far as it shows here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import roborefer_ros

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """``(KEYWORD, arguments)`` of a Dockerfile, continued lines joined, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(w[0].upper(), w[1]) for w in (x.split(None, 1) for x in joined.splitlines() if x)]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", sorted((ROOT / ".github/workflows").glob("*.yml"))),
        ("vendor.dependabot", [ROOT / ".github/dependabot.yml"]),
        ("vendor.compose-spec", [ROOT / "docker/compose.yaml"]),
    ],
)
def test_files_of_services_follow_their_schema(schema: str, files: list[Path]) -> None:
    pytest.importorskip("check_jsonschema", reason="a tool of `make test`")
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflow_runs_what_ci_runs_on_every_python() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert jobs["wheels"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert ".ci/run" in [step.get("run") for step in jobs["wheels"]["steps"]]
    assert {"humble", "jazzy", "kilted"} <= set(jobs["colcon"]["strategy"]["matrix"]["ros"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_containers_are_pinned_small_and_without_root(path: Path) -> None:
    """hadolint's DL3002, DL3004, DL3006, DL3007, DL3008's kind, DL3009, DL3015, DL3020, DL3000."""
    found = instructions(path)
    for keyword, arguments in found:
        if keyword == "FROM":
            assert re.search(r":(?!latest)\S+$", arguments), arguments
        if keyword == "RUN":
            assert "sudo" not in arguments
            if "apt-get install" in arguments:
                assert "--no-install-recommends" in arguments
                assert "rm -rf /var/lib/apt/lists/*" in arguments
            if "pip install" in arguments:
                assert arguments.count("pip install") == arguments.count("--no-cache-dir")
        if keyword == "WORKDIR":
            assert arguments.startswith("/")
    keywords = [keyword for keyword, _ in found]
    assert "ADD" not in keywords
    assert [a for k, a in found if k == "USER"][-1] not in ("root", "0")


def test_what_containers_copy_exists() -> None:
    for path in DOCKERFILES:
        for keyword, arguments in instructions(path):
            if keyword == "COPY":
                source = next(w for w in arguments.split() if not w.startswith("--"))
                assert (ROOT / source).exists(), source
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    for service in compose["services"].values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_the_development_container_is_json() -> None:
    json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == roborefer_ros.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_documentation_builds_and_every_page_is_in_its_navigation(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="a tool of `make test`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "not included in the" not in built.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / page.stem / "index.html").is_file() or page.stem == "index"


@pytest.mark.parametrize(
    "path",
    [ROOT / n for n in ("README.md", "SECURITY.md", "QUALITY_DECLARATION.md", "CONTRIBUTING.md")],
    ids=lambda path: path.name,
)
def test_links_of_the_repositorys_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), target
