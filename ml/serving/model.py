"""A released model in memory: the graph's session and what the manifest says about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.records.codes import Code
from ml.records.release import Package, ReleaseManifest
from ml.registry.golden import ask_graph, check_session, load_session
from ml.registry.manifest import MODEL, PACKAGE, verify_artifact
from ml.serving.reference import Reference, make_reference
from ml.use_case import UseCase

if TYPE_CHECKING:
    import onnxruntime


class ReleaseRefused(Exception):  # noqa: N818 - an answer of the replica, not a malfunction
    """A release that this replica will not serve.

    Parameters
    ----------
    code
        101, 102 or 601.
    """

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Model:
    """A model that answers its golden rows as it did when it was judged."""

    manifest: ReleaseManifest
    session: onnxruntime.InferenceSession
    regression: bool = False
    package: Package | None = None

    def answer(self, inputs: dict[str, NDArray[Any]]) -> tuple[list[str], NDArray[np.float64]]:
        """Class per row, and probabilities of shape ``(n_rows, n_classes)``; of a regression ``""`` and one number.

        Raises
        ------
        Exception
            Whatever onnxruntime raises; its exceptions have no common root.
        """
        labels, told = ask_graph(self.session, inputs, regression=self.regression)
        return labels.tolist(), np.asarray(told, dtype=np.float64)

    @cached_property
    def reference(self) -> Reference | None:
        """What the training data was like, None when the package does not say."""
        if self.package is None or not (self.package.reference or self.package.reference_values):
            return None
        return make_reference(self.package)

    @cached_property
    def described(self) -> msgspec.Raw:
        """The same as :meth:`describe`, encoded once."""
        return msgspec.Raw(msgspec.json.encode(self.describe()))

    def describe(self) -> dict[str, Any]:
        """What an answer says about the model behind it."""
        return {
            "name": self.manifest.model_name,
            "version": self.manifest.model_version,
            "digest": self.manifest.digest,
        }


def load_model(releases: Path, manifest: ReleaseManifest, use_case: UseCase) -> Model:
    """Model of a manifest, verified: the registered bytes, and the golden rows' answers.

    Raises
    ------
    ReleaseRefused
        A file is absent (101), fails its digest (102), or the model cannot serve this use case (601).
    """
    folder = releases / use_case.name / manifest.artifact
    for name in (MODEL, PACKAGE):
        if not (folder / name).is_file():
            raise ReleaseRefused(Code.ARTIFACT_NOT_FOUND, f"artifact is absent; where: {folder / name}")
    try:
        package = verify_artifact(folder, digest=manifest.digest, package_digest=manifest.package_digest)
    except DataError as error:
        raise ReleaseRefused(Code.ARTIFACT_CORRUPT, str(error)) from error
    try:
        session = load_session(folder / MODEL)
        check_session(session, package, use_case)
    except DataError as error:
        raise ReleaseRefused(Code.RELEASE_REFUSED, str(error)) from error
    return Model(manifest, session, use_case.regression, package)
