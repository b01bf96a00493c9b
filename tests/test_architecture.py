"""The shape of the package, held over its syntax trees: which way imports point, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from import_graph import Import, all_imports, component, imports_of, internal, modules

LAYERS = (
    {"raif", "_version", "errors", "presets", "records", "reporting", "resources"},
    {"cache", "config", "constitution", "disk", "inputs", "manifest", "prompts", "settings", "store"},
    {"models"},
    {"feedback", "audit"},
    {"evaluate"},
    {"qualify"},
    {"report"},
    {"session", "stages", "pipeline", "estimate"},
    {"demo"},
    {"cli"},
)
"""What a component imports lies in its own layer or one above it in this list."""

TRAIN_KNOWS = {"train", "records", "config", "store", "disk", "errors", "reporting"}
"""``train`` stands beside the layers: an online judge reaches it as an argument that ``pipeline`` wires."""

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "peft",
    "accelerate",
    "vllm",
    "scipy",
    "numpy",
    "pandas",
    "pyarrow",
    "aiohttp",
)
"""Libraries that take long to import. ``raif --help`` is for people in a hurry."""

NEURAL = {"torch", "transformers", "trl", "peft", "accelerate", "vllm"}
"""Where these are imported, lazily or not, models run or train: nowhere else in raif."""

LONGEST = 350
"""Lines. Aim at 300; a module that outgrows this is usually two ideas."""


RANK = {name: place for place, layer in enumerate(LAYERS) for name in layer}


def offences(found: list[Import]) -> list[str]:
    """The imports that point the wrong way."""
    wrong = []
    for edge in found:
        importer, imported = component(edge.importer), component(edge.imported)
        if importer == "train":
            allowed = imported in TRAIN_KNOWS
        elif imported == "train":
            allowed = RANK[importer] >= RANK["pipeline"]
        else:
            allowed = RANK[imported] <= RANK[importer]
        if not allowed:
            wrong.append(str(edge))
    return wrong


def test_every_component_has_its_layer() -> None:
    assert {component(module) for module in modules()} - set(RANK) == {"train"}


def test_imports_point_one_way() -> None:
    assert offences(internal()) == []


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("raif.models.base", "from raif.feedback.label import label"),
        ("raif.store", "def later():\n    import raif.models.registry"),
        ("raif.records", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from raif import config"),
        ("raif.train.dpo", "from raif.models.base import ChatModel"),
        ("raif.feedback.label", "from raif.train.dpo import train"),
        ("raif.report.page", "import raif.cli"),
        ("raif.feedback.label", "from raif.demo.truth import better"),
    ],
)
def test_a_wrong_direction_is_seen_wherever_it_hides(importer: str, statement: str) -> None:
    known = frozenset(["raif.config"])
    found = [edge for edge in imports_of(ast.parse(statement), importer, known) if edge.imported.startswith("raif")]
    assert len(offences(found)) == 1


def test_no_module_waits_for_itself() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for edge in internal():
        # A package's __init__ gathers names from its own modules, which may import its siblings' modules directly.
        if edge.eager and edge.imported in graph and not edge.imported.startswith(f"{edge.importer}."):
            graph[edge.importer].add(edge.imported)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


def test_only_models_and_training_touch_neural_libraries() -> None:
    elsewhere = [
        str(edge)
        for edge in all_imports()
        if edge.imported.split(".")[0] in NEURAL and component(edge.importer) not in {"models", "train"}
    ]
    assert elsewhere == []


def test_the_truth_of_the_demo_world_is_out_of_every_stage_s_reach() -> None:
    outside = [
        str(edge)
        for edge in internal()
        if edge.imported.startswith("raif.demo") and component(edge.importer) not in {"demo", "cli"}
    ]
    assert outside == []


def test_modules_are_short() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def loaded(program: str) -> set[str]:
    """The heavy modules that a fresh Python has loaded after ``program``, whose own output is dropped."""
    report = f"{program}\nimport sys; print('', *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stderr.splitlines()[-1].split())


def test_what_start_up_loads_is_noticed() -> None:
    assert loaded("import numpy") == {"numpy"}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded("import raif.cli") == set()


def test_no_help_page_loads_anything_heavy() -> None:
    walk = """
import click
from raif.cli import cli
def walk(command, context):
    command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            walk(sub, click.Context(sub, parent=context, info_name=name))
walk(cli, click.Context(cli, info_name="raif"))
"""
    assert loaded(walk) == set()
