"""The bucket of MLflow's artifacts.

python docker/bucket.py make           make it where there is none
python docker/bucket.py save FOLDER    copy all its objects to files
python docker/bucket.py load FOLDER    copy them back

MLFLOW_S3_ENDPOINT_URL, S3_BUCKET, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say which.
"""

import os
import sys
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

USAGE = "write `python docker/bucket.py make`, `save FOLDER` or `load FOLDER`"


def connect(address: str):
    """Return a client of the store that gives up on a silent one after seconds."""
    settings = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"max_attempts": 3},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", endpoint_url=address, region_name="us-east-1", config=settings)


def make(store, bucket: str) -> None:
    """Make the bucket where there is none."""
    try:
        store.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        store.create_bucket(Bucket=bucket)


def save(store, bucket: str, folder: Path) -> None:
    """Copy every object to a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            path = (folder / found["Key"]).resolve()
            if found["Key"].endswith("/"):  # some stores list folders, which have no bytes
                continue
            assert path.is_relative_to(folder.resolve()), found["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download_file(bucket, found["Key"], str(path))


def load(store, bucket: str, folder: Path) -> None:
    """Copy every file to an object of its name; other objects stay."""
    make(store, bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.upload_file(str(path), bucket, path.relative_to(folder).as_posix())


def main(arguments: list[str]) -> int:
    """Do what the arguments say; 0, or 2 for wrong ones, 3 where the store fails, and one line."""
    address, bucket = os.environ["MLFLOW_S3_ENDPOINT_URL"], os.environ.get("S3_BUCKET", "mlflow")
    try:
        match arguments:
            case ["make"]:
                make(connect(address), bucket)
            case ["save", folder]:
                save(connect(address), bucket, Path(folder))
            case ["load", folder]:
                load(connect(address), bucket, Path(folder))
            case _:
                print(f"error: {' '.join(arguments)!r}: {USAGE}", file=sys.stderr)
                return 2
    except (BotoCoreError, ClientError) as error:
        print(
            f"error: bucket {bucket} at {address}: {' '.join(str(error).split())}; see that the "
            "store runs and that the keys are its own",
            file=sys.stderr,
        )
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
