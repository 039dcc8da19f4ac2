"""Small images for tests without an image builder: files of this machine as an OCI archive with one layer."""
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path


def closure(programs):
    """The programs and the shared libraries that they load, as {path in the image: file here}."""
    files = {}
    for program in programs:
        found = shutil.which(str(program))
        if not found:
            raise FileNotFoundError(f"{program} is not installed")
        files[f"/bin/{Path(found).name}"] = Path(found).resolve()
        listed = subprocess.run(["ldd", found], text=True, capture_output=True, check=False)
        if listed.returncode == 0:
            for line in listed.stdout.splitlines():
                match = re.search(r"(?:=> )?(/\S+) \(0x", line)
                if match:
                    files[match.group(1)] = Path(match.group(1)).resolve()
    return files


def _layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folders = set()
        for target in sorted(files):
            for parent in reversed(Path(target).parents):
                name = str(parent).lstrip("/")
                if name and name not in folders:
                    folders.add(name)
                    info = tarfile.TarInfo(name)
                    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                    tar.addfile(info)
            source = files[target]
            data = source if isinstance(source, bytes) else Path(source).read_bytes()
            info = tarfile.TarInfo(target.lstrip("/"))
            info.size = len(data)
            info.mode = 0o644 if isinstance(source, bytes) else 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_image(path, name, files, entrypoint, user="65532:65532", environment=("PATH=/bin",)):
    """files: {path in the image: file here, or bytes}. The archive's reference is name, which needs a tag."""
    blobs = {}

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    layer = _layer(files)
    packed = gzip.compress(layer, 1, mtime=0)
    config = {"architecture": "amd64", "os": "linux", "config": {"User": user, "Entrypoint": entrypoint, "Env": list(environment)},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    kind = "application/vnd.oci.image"
    manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
                "config": {"mediaType": f"{kind}.config.v1+json", **blob(json.dumps(config).encode())},
                "layers": [{"mediaType": f"{kind}.layer.v1.tar+gzip", **blob(packed)}]}
    index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode()),
                                                "platform": {"architecture": "amd64", "os": "linux"},
                                                "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}}]}
    with tarfile.open(path, "w") as tar:
        for entry, data in {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}.items():
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def toolbox(path, name="localhost/toolbox:1", programs=("dash", "sleep", "cat", "mkdir", "curl", "id", "date", "env")):
    """A shell, curl and a few tools with their libraries, from this machine."""
    files = closure(programs)
    files["/bin/sh"] = files["/bin/dash"]
    files["/etc/passwd"] = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65532:65532:nobody:/:/bin/sh\n"
    files["/etc/nsswitch.conf"] = b"hosts: files dns\n"
    files["/tmp/.keep"] = b""
    return write_image(path, name, files, ["/bin/sh"])
