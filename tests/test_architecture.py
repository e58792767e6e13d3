"""Promises that the code keeps by its shape."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import amanat

ROOT = Path(amanat.__file__).parent
MODULES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}
SHELLS = {
    *(
        "cli/cluster.py",
        "cli/region.py",
        "demo.py",
        "client/surroundings.py",
        "drill/live.py",
        "drill/relays.py",
        "drill/replay.py",
        "drill/talkers.py",
        "relay/clock.py",
    ),
    *("relay/directory.py", "region/mover.py"),
    *("relay/cluster/evidence.py", "relay/cluster/nodes.py", "relay/cluster/scrub.py"),
    *("relay/cluster/processes.py", "relay/cluster/trial.py"),
    *("drill/clock.py", "drill/process.py", "drill/recorded.py"),
}
"""The modules that may read the real clock."""
LAST_RESORTS = {
    "bots.py": 2,
    "cli/ending.py": 1,
    "client/shell/runtime.py": 1,
    "drill/talkers.py": 1,
    "media/worker.py": 1,
    "page/house.py": 1,
}
"""How many handlers of any error each shell may have, where no other code could report it."""


def names(tree: ast.AST) -> Iterator[str]:
    """Every module and every attribute that a module names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.e2e
def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--config", ROOT.parents[1] / "pyproject.toml"],
        capture_output=True, text=True, check=False, cwd=ROOT.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_only_the_binding_s_wrappers_import_the_binding() -> None:
    importers = {path for path, tree in MODULES.items() if "amanat._mls" in names(tree)}
    assert importers == {"mls.py", "client/names.py"}


def raises(last: ast.stmt) -> bool:
    """Whether a block with this last statement passes the error on, perhaps under a better name."""
    return isinstance(last, ast.Raise) or (isinstance(last, ast.With) and raises(last.body[-1]))


@pytest.mark.parametrize("path", MODULES)
def test_any_error_is_caught_only_where_nobody_else_could_tell(path: str) -> None:
    handlers = [
        node
        for node in ast.walk(MODULES[path])
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not raises(node.body[-1])
    ]
    assert len(handlers) <= LAST_RESORTS.get(path, 0)


@pytest.mark.parametrize("path", sorted(set(MODULES) - SHELLS))
def test_only_shells_read_the_clock(path: str) -> None:
    clocks = {"time.time", "time.time_ns", "time.monotonic", "datetime.now", "datetime.utcnow"}
    assert not clocks & set(names(MODULES[path]))


@pytest.mark.parametrize("path", MODULES)
def test_no_secret_comes_from_the_ordinary_random_numbers(path: str) -> None:
    # These choose the victims to kill, the weather, and the lies.
    if path not in {
        *("drill/replay.py", "drill/world.py", "drill/network.py"),
        *("drill/integrity.py", "drill/insider.py"),
    }:
        assert not {name for name in names(MODULES[path]) if name.split(".")[0] == "random"}


@pytest.mark.parametrize("path", MODULES)
def test_module_says_what_it_is_for(path: str) -> None:
    assert ast.get_docstring(MODULES[path])


@pytest.mark.long
def test_vault_is_written_in_units_only() -> None:
    """No other module begins or ends a transaction."""
    for path, tree in MODULES.items():
        words = {
            node.value.split()[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip()
        }
        if path.startswith("client/") and path != "client/vault.py":
            assert not words & {"BEGIN", "COMMIT", "ROLLBACK"}
