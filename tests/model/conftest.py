"""Makes the modules beside the tests importable (importlib mode), and keeps PyTorch to one thread a process."""

import os
import sys
from pathlib import Path

# Before PyTorch is imported, here and in the processes that tests start: several processes with several threads each
# wait for one another far longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
