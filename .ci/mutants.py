"""Mutation testing of kernel and patterns: `make mutants`.

Cosmic-ray's operators make the mutants. A copy of the tree takes them, one at a time, and pytest runs in a process that
is forked from one that has imported pytest already. The tests closest to a module run first; what survives them meets
all tests of .ci/mutants.toml. A run that is stopped goes on where it was; a verdict holds until the module changes, and
that of a survivor until a test changes. Remove .cache/mutants to have everything judged anew.

    python .ci/mutants.py [--sample N] [--seed N] [MODULE ...]    # MODULE: a part of its path
"""

from __future__ import annotations

import argparse
import ast
import builtins
import gc
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / ".ci" / "mutants.toml"
CACHE = ROOT / ".cache" / "mutants"
SNAPSHOT = CACHE / "snapshot"
RECORD = ROOT / "docs" / "evidence" / "mutants.json"
PYTEST = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0"]
PYTEST += ["-m", "not soak and not browser", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
PATIENCE = 4  # a mutant may take this many times as long as the unchanged code ...
SHORTEST = 8.0  # ... and this many seconds at least, because the machine has other work
MEMORY = 4 << 30


@dataclass(frozen=True)
class Mutant:
    """One small change to one module."""

    module: str
    operator: str
    occurrence: int
    line: int


def settings() -> dict[str, Any]:
    """What .ci/mutants.toml says, without the test files that there are not."""
    found: dict[str, Any] = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
    found["near"] = {module: [f for f in near if (ROOT / f).exists()] for module, near in found["near"].items()}
    return found


# --- making mutants --------------------------------------------------------------------------------------------------


def not_run(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a text is for type checkers only: annotations, overloads, the methods of a protocol, `if TYPE_CHECKING`."""
    nodes: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list):
                nodes += [node, *node.decorator_list]
            nodes.append(node.returns)
        elif isinstance(node, ast.ClassDef):
            if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
                nodes += [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
            nodes += [one for one in node.decorator_list if "dataclass_transform" in ast.dump(one)]
        elif isinstance(node, (ast.arg, ast.AnnAssign)):
            nodes.append(node.annotation)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += [node.test, *node.body]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cast":
            nodes.append(node.args[0])
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n is not None]


def mutants_of(module: str, source: str) -> tuple[list[Mutant], int]:
    """The mutants of a module, and how many more there would be of what is never run."""
    import cosmic_ray.plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    text = list(ast_nodes(get_ast(source)))
    typing_only = not_run(source)
    found: list[Mutant] = []
    left_out = 0
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():
            continue  # an operator that wants the names of variables to mix up
        operator = kind()
        places = [place for node in text for place in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(places):
            # A decorator's place begins with the @ and ends in the next line; that of its expression is within.
            inner = ((start[0], start[1] + 1),) * 2 if name == "core/RemoveDecorator" else (start, end)
            if any(first <= inner[0] and inner[1] <= last for first, last in typing_only):
                left_out += 1
            else:
                found.append(Mutant(module, name, occurrence, start[0]))
    return found, left_out


# --- the worker: a process that forks itself for each run of the tests -----------------------------------------------


def work(tree: Path) -> None:
    """Answer each request on stdin (a line of JSON) with a verdict on stdout."""
    os.chdir(tree)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree)])
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import cosmic_ray.exceptions
    import cosmic_ray.plugins
    from cosmic_ray.mutating import mutate_code

    for library in settings()["imported"]:
        importlib.import_module(library)
    name = cosmic_ray.exceptions.CosmicRayTestingException.__name__
    setattr(builtins, name, cosmic_ray.exceptions.CosmicRayTestingException)
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any] = {"verdict": "survived", "before": "", "after": ""}
        path = tree / asked["module"] if asked["module"] else None
        source = path.read_text(encoding="utf-8") if path else ""
        try:
            if path:
                operator = cosmic_ray.plugins.get_operator(asked["operator"])()
                mutated = mutate_code(source, operator, asked["occurrence"])
                answer["before"], answer["after"] = changed(source, mutated)
                if not is_program(mutated):
                    answer["verdict"] = "no program"
                    continue
                path.write_text(mutated, encoding="utf-8")
                for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                    compiled.unlink()
                os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
                sys.dont_write_bytecode = True  # two mutants of one size and second would be taken for one
            for tests, seconds in asked["stages"]:
                began = time.monotonic()
                answer["verdict"] = judge(tests, seconds, tree / "last.log")
                failed = re.search(
                    r"^FAILED (.+?)(?: - |$)", (tree / "last.log").read_text(errors="replace"), re.MULTILINE
                )
                if answer["verdict"] == "killed" and failed:
                    answer["by"] = failed[1]
                    if judge([failed[1]], seconds, tree / "again.log") == "survived":
                        print(f"fails now and then: {failed[1]}", file=sys.stderr)
                        del answer["by"]
                        answer["verdict"] = judge(tests, seconds, tree / "last.log")
                answer["seconds"] = round(time.monotonic() - began, 2)
                if answer["verdict"] != "survived":
                    break
        finally:
            if path:
                path.write_text(source, encoding="utf-8")
            print(json.dumps(answer), flush=True)


def is_program(text: str) -> bool:
    """Whether the compiler takes a text, and without a warning such as that `is` compares with a literal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile(text, "mutant", "exec", dont_inherit=True)
        except (SyntaxError, SyntaxWarning):
            return False
    return True


class Frozen:
    """Keeps the collections that tests ask for away from what was there before them: ten times faster."""

    def pytest_collection_finish(self) -> None:
        """Called by pytest before the first test."""
        gc.collect()
        gc.freeze()


def judge(tests: list[str], seconds: float, log: Path) -> str:
    """Run tests in a process of their own and say what became of the mutant."""
    shutil.rmtree(
        ".hypothesis", ignore_errors=True
    )  # what it found against one mutant is none of the next one's business
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        import pytest

        try:
            status = int(pytest.main([*PYTEST, *tests], plugins=[Frozen()]))
            sys.stdout.flush()
        except BaseException as error:
            os.write(1, repr(error).encode())
            status = 99
        os._exit(status)
    until = time.monotonic() + seconds
    pause = 0.005
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timed out"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"


def changed(before: str, after: str) -> tuple[str, str]:
    """The lines that differ."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return "\n".join(line.strip() for line in old), "\n".join(line.strip() for line in new)


# --- the run ---------------------------------------------------------------------------------------------------------


class Worker:
    """A copy of the tree, and the process that tests mutants in it."""

    def __init__(self, number: int) -> None:
        self.tree = CACHE / f"tree{number}"
        shutil.rmtree(self.tree, ignore_errors=True)
        no_cache = shutil.ignore_patterns("__pycache__")
        for folder in ("src", "tests", ".ci"):
            shutil.copytree(SNAPSHOT / folder, self.tree / folder, ignore=no_cache)
        shutil.copy(ROOT / "pyproject.toml", self.tree)
        command = [sys.executable, __file__, "--work", str(self.tree)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, mutant: Mutant | None, stages: list[tuple[list[str], float]]) -> dict[str, Any]:
        """What becomes of a mutant (None: of the unchanged code) in each of some stages of tests, with their time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"module": "", "stages": stages} if mutant is None else {**vars(mutant), "stages": stages}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a worker died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Let the process go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def digest(*paths: Path) -> str:
    """What tells one state of files from another."""
    files = sorted(f for path in paths for f in ([path] if path.is_file() else path.rglob("*.py")))
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()[:16]


class Verdicts:
    """What is known already, in a file that only grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            one = json.loads(line)
            self.known[one["key"]] = one

    def add(self, key: str, verdict: dict[str, Any]) -> None:
        """Know one more."""
        self.known[key] = verdict
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **verdict}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of kernel and patterns.")
    parser.add_argument("modules", nargs="*", help="parts of paths; all modules by default")
    parser.add_argument("--sample", type=int, default=0, help="at most so many mutants of each module, at random")
    parser.add_argument("--seed", type=int, default=0, help="what the sample is drawn with")
    asked = parser.parse_args()
    chosen = settings()
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(SNAPSHOT, ignore_errors=True)
    for folder in ("src", "tests", ".ci"):  # the tree may be edited meanwhile
        shutil.copytree(ROOT / folder, SNAPSHOT / folder, ignore=shutil.ignore_patterns("__pycache__"))
    known = Verdicts(CACHE / "verdicts.jsonl")
    tests_now = digest(*(SNAPSHOT / folder for folder in chosen["tests"]))
    workers = [Worker(number) for number in range(chosen["workers"])]
    limits = how_long(workers, [chosen["tests"], *filter(None, chosen["near"].values())])
    files = sorted(str(f.relative_to(SNAPSHOT)) for t in chosen["tests"] for f in (SNAPSHOT / t).rglob("test_*.py"))

    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"modules": {}}
    record["python"] = ".".join(map(str, sys.version_info[:2]))
    for module, near in chosen["near"].items():
        if asked.modules and not any(part in module for part in asked.modules):
            continue
        made, left_out = mutants_of(module, (SNAPSHOT / module).read_text(encoding="utf-8"))
        # In a random order, so that the first of them are a sample.
        mutants = random.Random(f"{asked.seed} {module}").sample(made, len(made))[: asked.sample or None]
        stages = [(near, limits[str(near)])] if near else []
        stages.append(([file for file in files if file not in near], limits[str(chosen["tests"])]))
        state = digest(SNAPSHOT / module)
        verdicts = run_all(workers, mutants, stages, known, state, tests_now)
        found = summary(verdicts, len(made), left_out, asked.seed, state)
        record["modules"][module] = found
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(module, *(f"{k}={v}" for k, v in found.items() if isinstance(v, int)), flush=True)
    for worker in workers:
        worker.end()


def how_long(workers: list[Worker], groups: list[list[str]]) -> dict[str, float]:
    """How many seconds each group of tests may take. The unchanged code must pass them."""
    limits: dict[str, float] = {}
    for worker in workers:
        worker.ask(None, [(groups[0], 600.0)])  # leaves compiled modules behind
    for files in groups:
        began = time.monotonic()
        answer = workers[0].ask(None, [(files, 600.0)])
        limits[str(files)] = max(SHORTEST, PATIENCE * (time.monotonic() - began))
        if answer["verdict"] != "survived":
            log = (workers[0].tree / "last.log").read_text(encoding="utf-8")
            sys.exit(f"the tests fail on unchanged code: {' '.join(files)}\n{log[-2000:]}")
    return limits


def run_all(
    workers: list[Worker],
    mutants: list[Mutant],
    stages: list[tuple[list[str], float]],
    known: Verdicts,
    state: str,
    tests_now: str,
) -> dict[Mutant, dict[str, Any]]:
    """A verdict for each mutant: those that are known, and those that the workers come to, side by side."""
    keys = {m: f"{m.module} {state} {m.operator} {m.occurrence}" for m in mutants}
    lock = threading.Lock()

    def is_open(mutant: Mutant) -> bool:
        verdict = known.known.get(keys[mutant])
        return verdict is None or (verdict["verdict"] == "survived" and verdict["tests"] != tests_now)

    left = list(filter(is_open, mutants))[::-1]
    failures: list[BaseException] = []

    def serve(worker: Worker) -> None:
        try:
            while not failures:
                with lock:
                    if not left:
                        return
                    mutant = left.pop()
                answer = worker.ask(mutant, stages)
                with lock:
                    known.add(keys[mutant], {**answer, "line": mutant.line, "tests": tests_now})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {mutant: known.known[keys[mutant]] for mutant in mutants}


def summary(verdicts: dict[Mutant, dict[str, Any]], made: int, left_out: int, seed: int, state: str) -> dict[str, Any]:
    """What is put on record of a module."""
    count = Counter(verdict["verdict"] for verdict in verdicts.values())
    survivors = [(m, v) for m, v in verdicts.items() if v["verdict"] == "survived"]
    return {
        "source": state,
        "made": made,
        "typing_only": left_out,
        "no_program": count["no program"],
        "run": len(verdicts) - count["no program"],
        "killed": count["killed"],
        "timed_out": count["timed out"],
        "survived": len(survivors),
        **({"seed": seed} if len(verdicts) < made else {}),
        "survivors": [
            {"line": m.line, "before": v["before"], "after": v["after"]}
            for m, v in sorted(survivors, key=lambda one: (one[0].line, one[1]["after"]))
        ],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]))
    else:
        main()
