"""JSON schemas of all that an API server serves, from its own /openapi/v3, and kubeconform with nothing but them.

    conform = Kubeconform(cluster.api, tools.path("kubeconform"), folder, tools.KUBERNETES)
    for found in conform(text, skip=["monitoring.coreos.com/v1/PodMonitor"]): found["kind"], found["status"], found["msg"]

The folder has the layout that kubeconform expects of a -schema-location without a template, so that no other place is asked.
Strict: where a schema lists properties, no other is allowed, at any depth.
"""
import json
import subprocess
from pathlib import Path

REF = "#/components/schemas/"
GVK = "x-kubernetes-group-version-kind"


def _translated(schema, strict=True):
    """An OpenAPI 3.0 schema as JSON schema. Walks by keyword, for a property may have a keyword's name. Below allOf, anyOf, oneOf
    and not a list of properties is no complete one."""
    made = dict(schema)
    if "$ref" in made:
        made["$ref"] = made["$ref"].replace(REF, "#/definitions/")
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    for bound in ("Minimum", "Maximum"):  # a flag beside the bound there, the bound itself here
        if made.pop(f"exclusive{bound}", False):
            made[f"exclusive{bound}"] = made.pop(bound.lower())
    for word in ("items", "additionalProperties", "not"):
        if isinstance(made.get(word), dict):
            made[word] = _translated(made[word], strict and word != "not")
    for word in ("allOf", "anyOf", "oneOf"):
        if word in made:
            made[word] = [_translated(one, False) for one in made[word]]
    if "properties" in made:
        made["properties"] = {name: _translated(one, strict) for name, one in made["properties"].items()}
        if strict and not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/definitions/")
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _needed(name, definitions):
    """The definitions that one needs, itself included."""
    needed, todo = {}, [name]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed[name] = definitions[name]
            todo += _references(definitions[name])
    return needed


def write(api, folder, version):
    """One file a kind. Returns {"group/version/kind": file}."""
    place = Path(folder) / f"v{version}-standalone-strict"
    place.mkdir(parents=True, exist_ok=True)
    written = {}
    for path in api.get("/openapi/v3")["paths"]:  # without the digest that it gives of each, which a new CRD makes stale
        schemas = (api.find(f"/openapi/v3/{path}") or {}).get("components", {}).get("schemas", {})
        definitions = {name: _translated(schema) for name, schema in schemas.items()}
        for name, schema in schemas.items():
            if len(schema.get(GVK, [])) != 1:  # what is of many groups, such as DeleteOptions, is no object of its own
                continue
            group, version_of, kind = (schema[GVK][0][key] for key in ("group", "version", "kind"))
            file = place / f"{kind}{'-' + group.split('.')[0] if group else ''}-{version_of}.json".lower()
            gvk = "/".join(part for part in (group, version_of, kind) if part)
            if file in written.values() and gvk not in written:
                raise ValueError(f"{gvk}: another kind has {file.name} already")
            written[gvk] = file
            file.write_text(json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": f"#/definitions/{name}",
                                        "definitions": _needed(name, definitions)}))
    return written


class Kubeconform:
    def __init__(self, api, program, folder, version):
        self.api, self.program, self.folder, self.version = api, program, folder, version
        self.kinds = {}
        self.refresh()

    def refresh(self):
        """After new kinds have come."""
        self.kinds = write(self.api, self.folder, self.version)
        return self.kinds

    def __call__(self, text, skip=()):
        """What it found of each object: kind, name, status (statusValid, statusInvalid, statusError, statusSkipped), msg."""
        done = subprocess.run([str(self.program), "-strict", "-verbose", "-output", "json", "-kubernetes-version", self.version,
                               "-schema-location", str(self.folder), *(["-skip", ",".join(skip)] if skip else []), "-"],
                              input=text, capture_output=True, text=True, timeout=120, check=False)
        try:
            found = json.loads(done.stdout)["resources"]
        except ValueError as error:
            raise RuntimeError(f"kubeconform: exit {done.returncode}: {done.stderr[-500:] or done.stdout[-500:]}") from error
        bad = any(one["status"] in ("statusInvalid", "statusError") for one in found)
        if bad != (done.returncode != 0):
            raise RuntimeError(f"kubeconform: exit {done.returncode}, but {'some' if bad else 'no'} object is invalid")
        return found
