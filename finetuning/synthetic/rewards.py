"""Which reward model of this root scores. No torch."""

from pathlib import Path

from assistant.core.store import Store
from assistant.engine.base import Base, fits

MODEL = "reward"
# Below this share of held-out pairs in the right order it scores nothing unless that is asked for.
LEAST_ACCURACY = 0.65


def live(store: Store, base: Base, force: bool) -> tuple[str, Path] | None:
    """The live reward model of this base, with ``force`` else the newest; its name and folder, None when there is none."""
    cards = {number: store.card(MODEL, number) for number in store.versions(MODEL)}
    known = [number for number, card in cards.items() if fits(card.base, card.base_sha256, base.name, base.sha256)]
    version = store.current(MODEL).version
    if version not in known:
        version = known[-1] if known and force else None
    return (f"{MODEL}/{version}", store.version_folder(MODEL, version)) if version else None
