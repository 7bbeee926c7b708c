"""A Dockerfile carried out without Docker: its steps run in a scratch folder that stands for the image's root."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# What belongs to the image's base: taken as given here, and never run on the machine that tests.
GIVEN = ("FROM python:3.11-slim", "RUN useradd --uid 10001 --create-home penstock")
MOUNT = re.compile(r"--mount=type=bind,source=(\S+),target=(\S+)\s+")
# The folders that the image has beyond its base's.
OURS = re.compile(r"(?<![\w./])/(opt|mnt|project)\b")


def instructions_of(dockerfile: Path) -> list[tuple[str, str]]:
    """(word, rest) in order; lines that go on are joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


@dataclass
class Image:
    """`build` carries out the steps, `run` the ENTRYPOINT; `context` is the folder that `docker build` is given."""

    root: Path
    context: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    workdir: str = "/"
    user: str = "root"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def build(self, dockerfile: Path) -> None:
        for word, rest in instructions_of(dockerfile):
            if f"{word} {rest}" not in GIVEN:
                getattr(self, f"_{word.lower()}")(rest)

    def run(self, *arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
        """`docker run -v project:/project image arguments`, in a process with nothing of ours in its environment."""
        if not self._here("/project").exists():
            self._here("/project").symlink_to(project)
        command = [*self.entrypoint, *(arguments or self.command)]
        return self._execute(["/usr/bin/env", *command], cwd=self._here(self.workdir))

    def _env(self, rest: str) -> None:
        for name, value in re.findall(r"(\w+)=(\S+)", rest):
            self.env[name] = self._moved(value).replace("$PATH", self.env["PATH"])

    def _run(self, rest: str) -> None:
        mount = MOUNT.match(rest)
        if mount is not None:
            rest, link = rest[mount.end() :], self._here(mount[2])
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.context / mount[1])
        self._here("/opt").mkdir(parents=True, exist_ok=True)
        done = self._execute(["/bin/sh", "-c", self._moved(rest)], cwd=self.root)
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
        if mount is not None:
            link.unlink()

    def _user(self, rest: str) -> None:
        self.user = rest

    def _workdir(self, rest: str) -> None:
        self.workdir = rest

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = tuple(json.loads(rest))

    def _cmd(self, rest: str) -> None:
        self.command = tuple(json.loads(rest))

    def _here(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _moved(self, text: str) -> str:
        return OURS.sub(lambda found: f"{self.root}/{found[1]}", text)

    def _execute(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.root), "LANG": "C.UTF-8", **self.env}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=850)
