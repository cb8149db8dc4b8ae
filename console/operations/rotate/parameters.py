"""What `pooldeck rotate` is told. No secret is among it: only where one comes from and goes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from console.operations.spec import Parameters

RoleName = Annotated[str, Field(min_length=1, max_length=63)]
SOURCES = "prompt, generate, fd:NUMBER or command:COMMAND LINE"
_SOURCE = r"^(prompt|generate|fd:\d+|command:.+)$"


class RotateParameters(Parameters):
    """`timeout_s` is for draining; `hold_s` bounds the time that clients wait after that."""

    role: RoleName
    to: Annotated[str, Field(max_length=63)] = ""
    method: Literal["auto", "ab", "inline", "userlist", "scram", "auth-query", "auth-user"] = "auto"
    secret_from: Annotated[str, Field(pattern=_SOURCE)] = "prompt"
    secret_to: Annotated[str, Field(pattern=r"^(|fd:\d+|command:.+)$")] = ""
    old_from: Annotated[str, Field(pattern=r"^(|prompt|fd:\d+|command:.+)$")] = ""
    hold_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    resume: bool = False
    undo: bool = False
    finish: bool = False

    @field_validator("role", "to")
    @classmethod
    def _plain(cls, name: str) -> str:
        if any(ord(char) < 32 for char in name):
            raise ValueError("has a control character")
        return name

    @model_validator(mode="after")
    def _together(self) -> RotateParameters:
        if self.resume + self.undo + self.finish > 1:
            raise ValueError("--resume, --undo and --finish exclude one another")
        if self.finish and not self.to:
            raise ValueError("--finish is the end of a rotation with two roles: it needs --to")
        if self.secret_from == "generate" and not self.secret_to and not (self.undo or self.finish):
            raise ValueError("a generated secret needs --secret-to, or nobody would ever know it")
        if self.to == self.role:
            raise ValueError("--to names the role itself")
        return self
