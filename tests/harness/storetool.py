"""Running build/test/store-tool: one store operation, its outcome as a dictionary."""
import json
import subprocess

from yard import BUILD, ROOT

TOOL = BUILD / "test" / "store-tool"


def build_tool():
    if not TOOL.exists():
        subprocess.run(["make", "--no-print-directory", "-s", str(TOOL.relative_to(ROOT))], cwd=ROOT, check=True)


class Tool:
    """Options common to all its operations; tool(operation, argument, …, option=value) adds some."""

    def __init__(self, url, keys=("testaccess", "testsecret"), **options):
        self.options = {"url": url, "deadline": "10s", **options}
        if keys:
            self.options |= {"access_key_id": keys[0], "secret_access_key": keys[1]}

    def command(self, arguments, options):
        merged = {k: v for k, v in {**self.options, **options}.items() if v is not None}
        flags = [f"--{k.replace('_', '-')}" + ("" if v is True else f"={v}") for k, v in merged.items() if v is not False]
        return [str(TOOL), *flags, "--", *map(str, arguments)]

    def __call__(self, *arguments, **options):
        return self._one(arguments, options)

    def _one(self, arguments, options):
        done = subprocess.run(self.command(arguments, options), capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin"})
        if not done.stdout.strip():
            raise RuntimeError(f"store-tool {arguments}: exit {done.returncode}: {done.stderr}")
        result = json.loads(done.stdout)
        expected = 0 if result["ok"] else result["exit"]
        if done.returncode != expected:  # a sanitizer has something to say
            raise RuntimeError(f"store-tool {arguments}: exit {done.returncode}, expected {expected}: {done.stderr}")
        return result

    def many(self, operations, **options):
        """Several operations on one handle."""
        lines = "".join("\t".join(map(str, o)) + "\n" for o in operations)
        done = subprocess.run(self.command(["-"], options), input=lines, capture_output=True, text=True, timeout=300, env={"PATH": "/usr/bin:/bin"})
        if done.returncode != 0:
            raise RuntimeError(f"store-tool: exit {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]
