"""e3nn's layers."""

from tesseral.interfaces.e3nn.nn._activation import Activation
from tesseral.interfaces.e3nn.nn._batchnorm import BatchNorm
from tesseral.interfaces.e3nn.nn._dropout import Dropout
from tesseral.interfaces.e3nn.nn._extract import Extract, ExtractIr
from tesseral.interfaces.e3nn.nn._fc import FullyConnectedNet
from tesseral.interfaces.e3nn.nn._gate import Gate
from tesseral.interfaces.e3nn.nn._identity import Identity
from tesseral.interfaces.e3nn.nn._normact import NormActivation
from tesseral.interfaces.e3nn.nn._s2act import S2Activation
from tesseral.interfaces.e3nn.nn._so3act import SO3Activation

__all__ = [
    "Activation",
    "BatchNorm",
    "Dropout",
    "Extract",
    "ExtractIr",
    "FullyConnectedNet",
    "Gate",
    "Identity",
    "NormActivation",
    "S2Activation",
    "SO3Activation",
]
