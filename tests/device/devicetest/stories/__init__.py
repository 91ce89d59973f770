"""All stories, the longest first: some of them run at a time."""

from ..story import Story
from .cuts import Cuts
from .damage import DataDamaged, DataFull, DataMissing, Nineteen70, NoSlot, RootDamaged
from .fallback import Bare, Sick
from .life import Life
from .pull import PullExt4, PullF2fs

ALL: tuple[type[Story], ...] = (
    Cuts, Sick, Bare, Life, DataDamaged, RootDamaged, DataFull, PullExt4, PullF2fs, DataMissing, NoSlot, Nineteen70,
)
