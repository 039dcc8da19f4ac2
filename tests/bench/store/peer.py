"""One transfer by boto3's transfer manager (s3transfer), measured like store-tool: CPU and wall seconds of the transfer alone, without
starting Python, as one JSON line.

usage: peer.py ENDPOINT CA|- default|tuned get|put KEY PATH [KEY PATH …]      ("tuned": our part size and number of connections)

request_checksum_calculation is "when_required": the cheaper of its documented modes (no checksum in uploads), and the one that
versitygw takes over kept-alive TLS connections (with checksums in trailers it answers some requests with 400).
"""
import json
import resource
import sys
import time

import boto3
import s3transfer
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    endpoint, ca, mode, verb = sys.argv[1:5]
    pairs = list(zip(sys.argv[5::2], sys.argv[6::2]))
    client = boto3.client("s3", endpoint_url=endpoint, verify=True if ca == "-" else ca, region_name="us-east-1", aws_access_key_id="testaccess",
                          aws_secret_access_key="testsecret", config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"))
    config = TransferConfig(multipart_chunksize=16 << 20, multipart_threshold=16 << 20, max_concurrency=4, io_chunksize=1 << 20) if mode == "tuned" else TransferConfig()
    client.list_objects_v2(Bucket="bucket", MaxKeys=1)  # loads its service model; ours has nothing to load
    cpu, wall = cpu_seconds(), time.monotonic()
    with create_transfer_manager(client, config) as manager:
        futures = [manager.download("bucket", key, path) if verb == "get" else manager.upload(path, "bucket", key) for key, path in pairs]
        for future in futures:
            future.result()
    print(json.dumps({"ok": True, "cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall, "boto3": boto3.__version__, "s3transfer": s3transfer.__version__}))


if __name__ == "__main__":
    main()
