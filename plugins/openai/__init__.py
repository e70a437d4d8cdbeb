"""GPT Image by OpenAI; and what every service of these models has in common, for those that build on it."""

from .errors import refused, told
from .models import MODELS
from .plugin import OpenAI
from .steps import make

__all__ = ["MODELS", "OpenAI", "make", "refused", "told"]
