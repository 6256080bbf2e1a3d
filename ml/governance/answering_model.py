"""The model that answered once, by its digest: from the release folder, or where that has lost it, the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError, InputError, PerennialError
from ml.records.release import Package, ReleaseManifest
from ml.registry.golden import load_session
from ml.registry.manifest import MODEL, verify_artifact
from ml.registry.port import Registry
from ml.serving.model import Model
from ml.training.convert import PREPARING
from ml.training.graph import VALUE, Graph, load_graph

#: Opened only where the release folder is not enough.
OpenRegistry = Callable[[], Registry]


@dataclass(frozen=True)
class Found:
    """A model on disk, verified.

    Attributes
    ----------
    source
        ``releases`` or ``registry``.
    """

    model: Model
    folder: Path
    package: Package
    source: str

    @property
    def graph(self) -> Graph:
        """The graph as the stages ask it."""
        content = (self.folder / MODEL).read_bytes()
        return load_graph(content, numbers=self.package.numbers, categories=self.package.categories)


def find_model(
    name: str, version: int, *, digests: tuple[str, str], releases: Path, open_registry: OpenRegistry, scratch: Path
) -> Found:
    """A version with exactly these bytes.

    Parameters
    ----------
    digests
        SHA-256 of ``model.onnx`` and of ``package.json``.
    scratch
        For what is fetched from the registry.

    Raises
    ------
    PerennialError
        Neither holds it any more.
    ServiceAway
        The release folder does not hold it, and the registry does not answer.
    """
    digest, package_digest = digests
    artifact = f"artifacts/{digest[:16]}{package_digest[:16]}"
    folder, source = releases / name / artifact, "releases"
    try:
        package = verify_artifact(folder, digest=digest, package_digest=package_digest)
    except DataError as absent:
        folder, source = scratch / f"{name}-{version}", "registry"
        registry = open_registry()
        try:
            registry.download(registry.version(name, version), folder)
            package = verify_artifact(folder, digest=digest, package_digest=package_digest)
        except InputError as error:
            raise PerennialError(
                "the model is gone", where=f"{name} version {version}, {digest[:12]}", got=f"{absent}; {error}"
            ) from error
    manifest = ReleaseManifest(
        use_case=name, sequence=0, model_name=name, model_version=version, digest=digest, package_digest=package_digest,
        artifact=artifact, released_at=datetime.now(UTC), previous=None, reason="replay",
    )  # fmt: skip
    session = load_session(folder / MODEL)
    regression = VALUE in {output.name for output in session.get_outputs()}
    return Found(Model(manifest, session, regression, package), folder, package, source)


def encode(found: Found, inputs: dict[str, NDArray[Any]]) -> list[dict[str, float]]:
    """What the graph's preprocessing makes of each row, by name: numbers imputed and scaled, a 0 or 1 per category.

    Empty for graphs of an earlier time, which do not name the nodes that prepare.
    """
    import onnx
    import onnxruntime

    model = onnx.load(found.folder / MODEL)
    prepared = [node for node in model.graph.node if node.name.startswith(PREPARING)]
    if not prepared:
        return []
    output = prepared[-1].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    table = np.asarray(session.run([output], inputs)[0], dtype=np.float64)
    seen = [
        [
            text.decode()
            for attribute in node.attribute
            if attribute.name == "cats_strings"
            for text in attribute.strings
        ]
        for node in prepared
        if node.op_type == "OneHotEncoder"
    ]
    names = list(found.package.numbers)
    names += [
        f"{name} = {text!r}" for name, texts in zip(found.package.categories, seen, strict=False) for text in texts
    ]
    if table.ndim != 2 or table.shape[1] != len(names):
        names = [f"encoded {i}" for i in range(table.reshape(len(table), -1).shape[1])]
    return [dict(zip(names, row, strict=True)) for row in table.reshape(len(table), -1).tolist()]
