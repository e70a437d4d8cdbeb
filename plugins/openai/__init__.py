"""GPT Image by OpenAI; and what every service of these models has in common, for those that build on it."""

from .errors import refused, told
from .models import MODELS
from .plugin import OpenAI
from .steps import check_base_url, make

__all__ = ["MODELS", "OpenAI", "check_base_url", "make", "refused", "told"]
