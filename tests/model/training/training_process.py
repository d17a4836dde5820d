"""Training as a process of its own: started, watched by its log, and ended by a signal."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from warm_command import Running, warm_commands


class Training:
    """`heterrec-model train`, maybe under torchrun."""

    def __init__(
        self, folder: Path, data: Path, settings: dict[str, object], *, ranks: int = 1
    ) -> None:
        self.run, self._data, self._ranks = folder / "run", data, ranks
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(settings))

    def start(self, *more: str) -> Running:
        words = ["train", "--data", self._data, "--config", self._config, "--run", self.run, *more]
        if self._ranks == 1:
            return warm_commands("heterrec_model").start(*words)
        ranks = ["--standalone", "--nproc-per-node", self._ranks, "-m", "--", "heterrec_model"]
        return warm_commands("torchrun").start(*ranks, *words)

    def finish(self, *more: str, code: int = 0) -> tuple[str, str]:
        process = self.start(*more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return out, err

    def stop_after(self, step: int, signal: int, *more: str) -> tuple[int, str, str]:
        """Send a signal once the log has a line of the step."""
        process = self.start(*more)
        self.wait_for(step, process)
        process.send_signal(signal)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def wait_for(self, step: int, process: Running) -> None:
        """Return once the log has a line of the step, or the process has ended."""
        deadline = time.monotonic() + 120
        while step > self._logged() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _logged(self) -> int:
        try:
            lines = (self.run / "metrics.jsonl").read_bytes().splitlines()
            return int(json.loads(lines[-1])["step"])
        except (OSError, IndexError, ValueError):
            return 0


def ends_equal(one: Path, two: Path) -> bool:
    """Whether two runs have equal weights and optimisers."""
    names: Sequence[str] = ("model.safetensors", "optimizer.safetensors")
    return all(
        (one / "checkpoints/last" / name).read_bytes()
        == (two / "checkpoints/last" / name).read_bytes()
        for name in names
    )
