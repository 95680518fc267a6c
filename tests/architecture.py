"""The import graph of a package, for the tests of its floors."""

import ast
from pathlib import Path


def modules(package: Path) -> dict[str, Path]:
    """Return the files of a package by dotted module name, ``maeface.data.manifest``."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(package: Path) -> dict[str, set[str]]:
    """Return, for each module, the modules of the package that it imports, inside functions too."""
    files = modules(package)
    return {name: _imported(ast.parse(path.read_text()), files) - {name} for name, path in files.items()}


def foreign(package: Path, other: str) -> set[str]:
    """Return the modules of a package that import another package."""
    return {
        name
        for name, path in modules(package).items()
        for node in ast.walk(ast.parse(path.read_text()))
        if any(target.split(".")[0] == other for target in _targets(node))
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of an import circle; empty if there is none."""
    waiting = {name: set(targets) for name, targets in graph.items()}
    while ready := [name for name, targets in waiting.items() if not targets & waiting.keys()]:
        for name in ready:
            del waiting[name]
    return sorted(waiting)


def too_long(path: Path) -> list[str]:
    """Return what is too long in a module: itself over 330 lines, functions of 65 lines or more."""
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in functions if node.end_lineno - node.lineno >= 65]
    return long + ([path.name] if len(text.splitlines()) > 330 else [])


def entries(folder: Path) -> list[str]:
    """Return what a folder of modules opens on: its modules and folders, without those in underscores."""
    names = [path.name for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"]
    return sorted(name for name in names if not name.startswith("__"))


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _imported(tree: ast.AST, files: dict[str, Path]) -> set[str]:
    """The longest names that are modules: of ``from a.b import c`` either ``a.b.c`` or ``a.b``."""
    targets = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                targets.add(whole if whole in files else node.module)
        elif isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
    return targets & files.keys()
