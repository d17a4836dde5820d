"""Start the service of a bundle, ask it once over HTTP, print the answer, and stop it: ask.py BUNDLE USER."""

import json
import subprocess
import sys
from urllib.request import Request, urlopen


def main(bundle: str, user: str) -> None:
    """Print the five best items for a user that the household does not have yet."""
    command = [
        sys.executable,
        "-m",
        "heterrec_model",
        "serve",
        "--bundle",
        bundle,
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            line = service.stdout.readline()
            if not line:
                sys.exit("the service did not start")
            url = json.loads(line)["address"] + "/recommend"
            body = {"user": user, "k": 5, "filter_seen": True}
            print(f"POST {url} {json.dumps(body)}")
            request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urlopen(request, timeout=30) as response:
                print(json.dumps(json.load(response), indent=1))
        finally:
            service.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
