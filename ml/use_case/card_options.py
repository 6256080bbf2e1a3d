"""What only people can say of a model: for its card."""

from __future__ import annotations

from pydantic import Field

from ml.use_case.section import Section


class CardWords(Section):
    """Sentences of a model card that no measurement gives (Mitchell et al. 2019); none of them changes a decision."""

    intended_use: str = Field(default="", description="what the answers are for")
    intended_users: str = Field(default="", description="who acts on them")
    not_for: str = Field(default="", description="uses that are out of scope")
    ethics: str = Field(default="", description="whom a wrong answer harms, and what is done about it")
    caveats: str = Field(default="", description="what a reader has to know beside the numbers")
    licence: str = Field(default="", description="of the model and its data")
    contact: str = Field(default="", description="where questions go; the owner where nothing is said")
