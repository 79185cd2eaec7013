"""Exit with 0 where a service is healthy, 1 where it is not.

python docker/health.py http://127.0.0.1:5000/health    whether it answers with 200
"""

import sys
import urllib.request


def main(address: str) -> int:
    """Return the exit code."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return int(answer.status != 200)
    except OSError as error:
        print(f"{address}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
