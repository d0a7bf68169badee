"""What is written down of a model beside everything that was made from it."""

from capture.session import ModelSession


def model_facts(session: ModelSession) -> dict[str, str]:
    """Name, revision, fingerprint, number format and processing of the weights: they tell whether a thing fits."""
    return {
        "model": session.name,
        "revision": session.revision,
        "fingerprint": session.fingerprint,
        "dtype": session.dtype,
        "processing": session.processing,
    }
