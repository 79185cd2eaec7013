"""A YAML file of a text, for those who read one."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Write text (or bytes) to a YAML file and return its path."""

    def write_file(text: str | bytes):
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file
