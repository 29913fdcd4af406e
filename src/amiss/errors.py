"""Every error amiss raises on purpose. The text says what was met, what was wanted, and what to do.

AmissError
├── InputError            something the user handed over cannot be used
│   ├── UnreadableFile    a picture, point cloud or table that cannot be read
│   ├── BadLayout         a folder or CSV that does not describe a data set
│   ├── BadSample         arrays of a wrong shape, type or value
│   ├── BadField          a hyper-parameter with an impossible value, or an unknown name
│   ├── WrongModality     a detector was given something it does not see
│   ├── TooFewSamples     fewer samples than the work needs
│   ├── MissingExtra      something optional that is not installed, with the command that installs it
│   ├── BadCheckpoint     a training to resume that was begun with other settings, or is damaged
│   └── UndefinedMetric   a figure that does not exist for this data (one class only)
├── NotFitted             predict before fit
├── BadModelFile          a model file that is damaged, foreign or of a newer format
├── TrainingFailed        a network whose loss is no number any more, or whose ONNX graph differs from it
├── BadBackbone           weights or graph that do not match what was promised
└── CannotWrite           an output that cannot be written
"""

from __future__ import annotations


class AmissError(Exception):
    """Root of all errors raised on purpose."""


class InputError(AmissError):
    """Something the user handed over cannot be used."""


class UnreadableFile(InputError):
    """A picture, point cloud or table that cannot be read."""


class BadLayout(InputError):
    """A folder or CSV that does not describe a data set."""


class BadSample(InputError):
    """Arrays of a wrong shape, type or value."""


class BadField(InputError):
    """A hyper-parameter with an impossible value, or an unknown name."""


class WrongModality(InputError):
    """A detector was given something it does not see."""


class TooFewSamples(InputError):
    """Fewer samples than the work needs."""


class MissingExtra(InputError):
    """Something optional that is not installed."""


class BadCheckpoint(InputError):
    """A training to resume that was begun with other settings, or is damaged."""


class UndefinedMetric(InputError):
    """A figure that does not exist for this data."""


class NotFitted(AmissError):
    """predict before fit."""


class BadModelFile(AmissError):
    """A model file that is damaged, foreign or of a newer format."""


class TrainingFailed(AmissError):
    """A network that did not learn, or could not become a graph."""


class BadBackbone(AmissError):
    """Weights or graph that do not match what was promised."""


class CannotWrite(AmissError):
    """An output that cannot be written."""
