"""Installs the project and everything that develops it into the environment that runs this file.

Exact versions come from pyproject.toml. uv does the work where it can be had, because it is much faster; it is told
the package sources that pip is configured with on this machine, so that both look in the same places. Plain pip is the
fallback. Arguments: names of further dependency groups; or `--pins` to resolve all versions anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
EXTRAS = ["http", "examples", "site", "load", "bench"]
UV = "uv==0.13.9"
PIP = [sys.executable, "-m", "pip"]
UV_PIP = [sys.executable, "-m", "uv", "pip"]
HUSH = ["--quiet", "--disable-pip-version-check"]


def pip_sources() -> dict[str, str]:
    """What pip is configured with (files and environment), as the environment variables that uv understands."""
    shown = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings: dict[str, str] = {}
    for line in shown.splitlines():  # global.timeout='60' or, from the environment and listed first, :env:.timeout='60'
        key, _, value = line.partition("=")
        settings.setdefault(key.partition(".")[2], value.strip("'\""))
    env: dict[str, str] = {}
    if "index-url" in settings:
        env["UV_DEFAULT_INDEX"] = settings["index-url"]
    if "extra-index-url" in settings:
        env["UV_INDEX"] = " ".join(settings["extra-index-url"].replace("\\n", " ").split())
    if "find-links" in settings:
        env["UV_FIND_LINKS"] = ",".join(settings["find-links"].replace("\\n", " ").split())
    if "cert" in settings:
        env["SSL_CERT_FILE"] = settings["cert"]
    if "trusted-host" in settings:
        env["UV_INSECURE_HOST"] = settings["trusted-host"].replace("\\n", " ")
    if settings.get("no-index", "").lower() in {"1", "true", "yes"}:
        env["UV_NO_INDEX"] = "1"
    if "default-timeout" in settings:
        env["UV_HTTP_TIMEOUT"] = settings["default-timeout"]
    return {name: value for name, value in env.items() if name not in os.environ}


def uv_environment() -> dict[str, str]:
    """Where uv shall look. pip takes the best version of all its sources; uv must be told to."""
    return {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match", **pip_sources()}


def install(groups: list[str]) -> None:
    pyproject = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    wanted = [requirement for group in ["dev", *groups] for requirement in pyproject["dependency-groups"][group]]
    with tempfile.TemporaryDirectory() as scratch:
        pins = Path(scratch) / "constraints.txt"
        pins.write_text("\n".join(pyproject["tool"]["uv"]["constraint-dependencies"]) + "\n", encoding="utf-8")
        arguments = ["install", "--quiet", "--constraint", str(pins), "--editable", f".[{','.join(EXTRAS)}]", *wanted]
        if subprocess.run([*PIP, "install", *HUSH, UV], cwd=ROOT, check=False).returncode == 0:
            uv = [*UV_PIP, *arguments, "--python", sys.executable]
            if subprocess.run(uv, cwd=ROOT, env=uv_environment(), check=False).returncode == 0:
                return
            print("uv could not install; trying pip, which takes longer", file=sys.stderr)
        subprocess.run([*PIP, *arguments, *HUSH[1:]], cwd=ROOT, check=True)


def pin() -> None:
    """Resolves every dependency for all Pythons and platforms, and writes the versions into pyproject.toml."""
    old = PYPROJECT.read_text(encoding="utf-8")
    groups = tomllib.loads(old)["dependency-groups"]
    options = ["--universal", "--quiet", "--no-header", "--no-annotate", "--python-version", "3.11"]
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "pyproject.toml"  # a copy without the constraints, which would constrain themselves
        project.write_text(old.partition("[tool.uv]")[0], encoding="utf-8")
        chosen = [option for extra in EXTRAS for option in ("--extra", extra)]
        chosen += [option for group in groups for option in ("--group", f"{project}:{group}")]
        compiled = subprocess.run(
            [*UV_PIP, "compile", *options, *chosen, str(project)],
            cwd=scratch,
            env=uv_environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    direct = set(re.findall(r'"([a-z-]+)(?:\[\w+\])?==', old.partition("[tool.uv]")[0]))
    lines = [line.replace('"', "'") for line in compiled.splitlines() if line and not line.startswith(("#", "-"))]
    pins = [line for line in lines if line.partition("==")[0] not in direct]
    block = "constraint-dependencies = [\n" + "".join(f'    "{pin}",\n' for pin in pins) + "]"
    new = re.sub(r"constraint-dependencies = \[\n.*?\]", lambda _: block, old, count=1, flags=re.DOTALL)
    PYPROJECT.write_text(new, encoding="utf-8")
    print(f"{len(pins)} versions pinned in pyproject.toml")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--pins"]:
            pin()
        else:
            install(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"installing failed (exit status {error.returncode}): see the lines above")
