"""Pin the base images in docker/Dockerfile by digest.

    python docker/digests.py [--check]

With --check, base images without digest are only named. Otherwise a registry is asked through docker, skopeo or crane.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parent / "Dockerfile"
IMAGE = re.compile(
    r"^ARG (?P<name>\w+)=(?P<tag>[\w./-]+:[\w.-]+)(?P<digest>@sha256:[0-9a-f]{64})?$", re.M
)
REASON = "# No digest:"
CLIENTS = {
    "docker": [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        "--format",
        "{{.Manifest.Digest}}",
        "{}",
    ],
    "skopeo": ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", "docker://{}"],
    "crane": ["crane", "digest", "{}"],
}


def digest_of(tag: str) -> str:
    """The digest of the images of all platforms under a tag, as sha256:...; exits if no client gives it."""
    errors = []
    for name, words in CLIENTS.items():
        if shutil.which(name) is None:
            continue
        command = [word.replace("{}", tag) if word.endswith("{}") else word for word in words]
        ran = subprocess.run(command, capture_output=True, text=True)
        if re.fullmatch(r"sha256:[0-9a-f]{64}", ran.stdout.strip()):
            return ran.stdout.strip()
        errors.append(f"{name}: {(ran.stderr or ran.stdout).strip()[:300]}")
    why = "\n".join(errors) or f"found none of {', '.join(CLIENTS)}"
    sys.exit(f"The digest of {tag} cannot be looked up, docker/Dockerfile is unchanged.\n{why}")


def main(arguments: list[str]) -> None:
    """Name the images without digest, or look up all digests and write them."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        for found in IMAGE.finditer(text):
            if not found["digest"]:
                print(f"Warning: {found['name']} is not pinned by digest. Run make digests.")
        return
    for found in list(IMAGE.finditer(text)):
        pinned = f"{found['tag']}@{digest_of(found['tag'])}"
        print(f"{found['name']}={pinned}")
        text = text.replace(found[0], f"ARG {found['name']}={pinned}")
    text = re.sub(rf"^{REASON}.*\n(?=ARG )", "", text, flags=re.M)
    DOCKERFILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
