"""`make peers`: an environment for each peer that benches measure against, so that their pins never bend ours."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS: dict[str, list[str]] = {}  # name -> requirements; the first peers come with the backtests (issue C)


def main() -> int:
    """Make the environments that are missing; return the exit status."""
    if not PEERS:
        print("no bench measures against a peer yet: issue A compares with bare parts in the same process")
    for name, requirements in PEERS.items():
        folder = ROOT / ".peers" / name
        if not (folder / "bin" / "python").exists():
            print(f"· {name}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *requirements], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
