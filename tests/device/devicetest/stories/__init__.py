"""All stories, the longest first: some of them run at a time."""

from ..story import Story
from .cuts import EarlyCuts, LateCuts, ThreeCuts
from .damage import (
    DataDamaged,
    DataFull,
    DataMissing,
    Nineteen70,
    NoRoot,
    NoSlot,
    OneKernel,
    Reset,
    RootDamaged,
    RootDamagedLater,
    TableDamaged,
)
from .fallback import Bare, Blind, Sick, Stuck, Unreadable
from .judged import Judged
from .life import Life
from .pull import PullExt4, PullF2fs

ALL: tuple[type[Story], ...] = (
    Judged, Sick, Bare, Blind, Stuck, EarlyCuts, LateCuts, Life, DataDamaged, RootDamaged, RootDamagedLater, DataFull,
    Unreadable, ThreeCuts, PullExt4, PullF2fs, DataMissing, NoRoot, TableDamaged, Reset, OneKernel, Nineteen70, NoSlot,
)
