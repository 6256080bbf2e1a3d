"""An environment of its own for a peer, made once with uv: peers ask for other versions than ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ml.settings import settings

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A package that people would use instead, with its pins."""

    name: str
    version: str
    packages: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Name of its environment's folder."""
        return self.name.lower()


EVIDENTLY = Peer("Evidently", "0.7.23", ("evidently==0.7.23", "pandas<3", "numpy<2.4", "pyarrow"))
#: It imports statsmodels and does not ask for it.
NANNYML = Peer("NannyML", "0.13.1", ("nannyml==0.13.1", "statsmodels", "pyarrow"))
ALIBI_DETECT = Peer("alibi-detect", "0.13.0", ("alibi-detect==0.13.0",))

#: All servers ask the same onnxruntime, ours.
_ONNXRUNTIME = f"onnxruntime=={version('onnxruntime')}"
FASTAPI = Peer("FastAPI", "0.165.0", ("fastapi[standard]==0.165.0", _ONNXRUNTIME))
LITSERVE = Peer("LitServe", "0.2.19", ("litserve==0.2.19", _ONNXRUNTIME))
MLSERVER = Peer("MLServer", "1.7.1", ("mlserver==1.7.1", _ONNXRUNTIME))
BENTOML = Peer("BentoML", "1.4.40", ("bentoml==1.4.40", _ONNXRUNTIME))
MLFLOW = Peer("MLflow", version("mlflow"), (f"mlflow=={version('mlflow')}", f"onnx=={version('onnx')}", _ONNXRUNTIME))


def prepare(peer: Peer, say: Callable[[str], None]) -> Path | None:
    """Python of the peer's environment; None, and said so, where it cannot be installed."""
    home = settings().var / "bench" / peer.slug
    python, installed = home / "bin" / "python", home / "installed.txt"
    pins = "\n".join(peer.packages)
    if python.exists() and installed.exists() and installed.read_text() == pins:
        return python
    say(f"installing {peer.name} into an environment of its own")
    uv = str(Path(sys.executable).parent / "uv")
    steps = (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *peer.packages],
    )
    if any(subprocess.run(step, check=False).returncode for step in steps):
        say(f"{peer.name} cannot be installed here; it is left out")
        return None
    installed.write_text(pins)
    return python
