"""Write tests/deploy/schemas/: what Kubeflow and SkyPilot publish, from their packages unpacked in a folder W.

    pip download --no-deps -d W kubeflow-training kubernetes==31.0.0 skypilot
    for w in W/*.whl; do unzip -q -d W $w; done
    python tools/published_schemas.py W

Kubeflow's client is generated from the custom resource's OpenAPI definition: its models hold every field's type, its
name in the manifest and whether it is required; Kubernetes' client likewise for what is inside a pod. Only what a
PyTorchJob reaches is written. SkyPilot's package holds the JSON schemas it checks tasks by. No package is imported but
for SkyPilot's one file of schemas.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "tests" / "deploy" / "schemas"
SIMPLE = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "float": "number",
    "datetime": "string",
    "Quantity": "string",
}

STUBS = (
    "sky", "sky.skylet", "sky.utils", "sky.server", "sky.data", "sky.skylet.autostop_lib", "sky.utils.kubernetes_enums",
)  # fmt: skip


def main(folder: Path) -> None:
    """Write both files."""
    training, kubernetes, sky = (version(folder, name) for name in ("kubeflow_training", "kubernetes", "skypilot"))
    models = [folder / "kubeflow/training/models", folder / "kubernetes/client/models"]
    definitions: dict[str, Any] = {}
    reach("KubeflowOrgV1PyTorchJob", models, definitions)
    write(
        "pytorchjob.json",
        {
            "$comment": f"kubeflow-training {training}, kubernetes {kubernetes} (PyPI); tools/published_schemas.py",
            "$ref": "#/$defs/KubeflowOrgV1PyTorchJob",
            "$defs": dict(sorted(definitions.items())),
        },
    )
    schemas = sky_schemas(folder)
    task = schemas["get_task_schema"]()
    task["properties"]["resources"] = schemas["_get_single_resources_schema"]()
    task["properties"]["file_mounts"] = {"type": "object", "additionalProperties": {"anyOf": [
        {"type": "string"}, schemas["get_storage_schema"]()]}}  # fmt: skip
    write("skypilot.json", {"$comment": f"skypilot {sky} (PyPI); tools/published_schemas.py", **known(task)})


def known(schema: Any) -> Any:
    """The schema without what is made from modules that were not imported."""
    if isinstance(schema, dict):
        return {key: known(value) for key, value in schema.items() if not isinstance(value, Anything)}
    return [known(value) for value in schema] if isinstance(schema, list) else schema


def version(folder: Path, package: str) -> str:
    """The version of an unpacked wheel."""
    found = sorted(folder.glob(f"{package}-*.dist-info"))
    return found[-1].name.removeprefix(f"{package}-").removesuffix(".dist-info")


def write(name: str, schema: dict[str, Any]) -> None:
    """One line for each definition or property."""
    (OUT / name).write_text(json.dumps(schema, indent=None, separators=(", ", ": ")).replace('}, "', '},\n"') + "\n")


def reach(model: str, folders: list[Path], definitions: dict[str, Any]) -> None:
    """Put a model's schema and those of all that it names into ``definitions``."""
    if model in definitions:
        return
    files = [path for folder in folders for path in folder.glob("*.py")]
    named = re.sub(r"^K8sIoApi[A-Z][a-z]+(?=V\d)", "", model).lower()
    path = next((path for path in files if path.stem.replace("_", "") == named), None)
    assert path is not None, f"no model {model}"
    text = path.read_text()
    tables = {
        target.id: ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("openapi_types", "attribute_map")
    }
    kinds, names = tables["openapi_types"], tables["attribute_map"]
    required = sorted(names[key] for key in set(re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)))
    definitions[model] = {"type": "object", "additionalProperties": False, "required": required, "properties": {}}
    for key, kind in kinds.items():
        definitions[model]["properties"][names[key]] = schema_of(kind, folders, definitions)


def schema_of(kind: str, folders: list[Path], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field, from its type in the client."""
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if kind == "object":
        return {}
    if inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": "object", "additionalProperties": schema_of(inner[1], folders, definitions)}
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": schema_of(inner[1], folders, definitions)}
    reach(kind, folders, definitions)
    return {"$ref": f"#/$defs/{kind}"}


def sky_schemas(folder: Path) -> dict[str, Any]:
    """What sky/utils/schemas.py defines, with whatever it imports left empty but for its own constants."""
    for name in (
        "sky",
        "sky.skylet",
        "sky.utils",
        "sky.server",
        "sky.data",
        "sky.skylet.autostop_lib",
        "sky.utils.kubernetes_enums",
    ):
        sys.modules[name] = Anything(name)
    constants = Anything("sky.skylet.constants")
    for node in ast.parse((folder / "sky/skylet/constants.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                setattr(constants, node.targets[0].id, ast.literal_eval(node.value))
            except ValueError:
                continue  # made from others; no schema here uses it
    sys.modules["sky.skylet.constants"] = sys.modules["sky.skylet"].constants = constants  # type: ignore[attr-defined]
    return runpy.run_path(str(folder / "sky/utils/schemas.py"))


class Anything(types.ModuleType):
    """A module that has whatever it is asked for; called, it gives nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name)

    def __call__(self) -> list[Any]:
        """Nothing."""
        return []

    def __iter__(self) -> Any:
        return iter(())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
