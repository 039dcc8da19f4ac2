"""docs/reference/chart-values.md, from the chart's values.yaml (defaults) and values.schema.json (types, meanings)."""
import json
import re

HEAD = """# Values of the chart

Made from `charts/trainyard/values.yaml` and `charts/trainyard/values.schema.json` by `make docs`; do not edit. Helm refuses a value that is not
here, or that is of another type. How they are used: [install on Kubernetes](../how-to/install-on-kubernetes.md); the options behind many
of them: [the operator's options](operator.md).
"""
HELMS_OWN = {"global"}  # may be given without having a default


class ValuesError(Exception):
    """One problem a line."""


def _flow(value, nested=False):
    """As one would write it in YAML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item, True)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item, True) for item in value) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][\w./-]*", value) and not re.fullmatch(r"[\d.]+|true|false|null|yes|no|on|off|y|n", value, re.I)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _type(schema):
    """In words; None if the schema does not say."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/definitions/")
        return f"[{name}](#{name})"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{_flow(value)}`" for value in schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        most = f"at most {schema['maxItems']} " if "maxItems" in schema else ""
        items = schema.get("items", {}).get("type")
        return f"list of {most}{items}s" if items else "list"
    if kind == "integer" and "minimum" in schema and "maximum" in schema:
        return f"integer from {schema['minimum']} to {schema['maximum']}"
    if kind == "string" and "pattern" in schema:
        return f"string, `{schema['pattern']}`"
    return kind


def _row(*cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _described(path, schema, problems):
    """(type, meaning), or a problem."""
    kind, meaning = _type(schema), schema.get("description", "").strip()
    if not kind:
        problems.append(f"values.schema.json: {path} has no type")
    if not meaning:
        problems.append(f"values.schema.json: {path} has no description")
    return kind or "", meaning


def _rows(properties, defaults, above, problems):
    rows = []
    for name in [*defaults, *(name for name in properties if name not in defaults)]:
        path, schema = above + name, properties.get(name)
        if schema is None:
            problems.append(f"values.yaml: {path} is not in values.schema.json")
        elif name not in defaults and path not in HELMS_OWN:
            problems.append(f"values.yaml: {path} of values.schema.json has no default")
        elif "properties" in schema:
            rows += _rows(schema["properties"], defaults[name], path + ".", problems)
        else:
            kind, meaning = _described(path, schema, problems)
            rows.append(_row(f"`{path}`", kind, f"`{_flow(defaults[name])}`" if name in defaults else "", meaning))
    return rows


def page(values, schema):
    """The page's text; ValuesError when a value has no description, no type or no default, or is in one file only."""
    problems = []
    parts = [HEAD, "| value | type | default | meaning |", "|---|---|---|---|", *_rows(schema["properties"], values, "", problems), ""]
    for name, definition in schema.get("definitions", {}).items():
        _, meaning = _described(f"definitions/{name}", definition, problems)
        parts += [f"## {name}", "", meaning, "", "| key | type | meaning |", "|---|---|---|"]
        parts += [_row(f"`{key}`", *_described(f"definitions/{name}.{key}", field, problems)) for key, field in definition["properties"].items()]
        parts.append("")
    if problems:
        raise ValuesError("\n".join(problems))
    return "\n".join(parts)
