"""Print the requirements in setup.cfg without the code of the package: python requirements.py SETUP_CFG EXTRA ..."""

import configparser
import sys


def wanted(path: str, extras: list[str]) -> list[str]:
    """Requirements of the package and of the extras, one per line in pip's format."""
    setup = configparser.ConfigParser()
    setup.read(path, encoding="utf-8")
    texts = [setup["options"]["install_requires"]]
    texts += [setup["options.extras_require"][extra] for extra in extras]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    print("\n".join(wanted(sys.argv[1], sys.argv[2:])))
