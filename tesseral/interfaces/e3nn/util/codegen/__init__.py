"""The mixin of classes that generate code."""

from tesseral.interfaces.e3nn.util.codegen._mixin import CodeGenMixin

__all__ = ["CodeGenMixin"]
