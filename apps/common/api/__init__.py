"""What every app's `api.py` is made of: problems, typed fields, pages by cursor, and the API that collects them."""

from apps.common.api.core import Api, answers
from apps.common.api.fields import In, Key, Moment, MomentAsked, Money, MoneyAsked, Out, Text
from apps.common.api.pages import Listing, PageAsked, page_schema
from apps.common.api.problems import Problem, problem_response

__all__ = [
    "Api",
    "In",
    "Key",
    "Listing",
    "Moment",
    "MomentAsked",
    "Money",
    "MoneyAsked",
    "Out",
    "PageAsked",
    "Problem",
    "Text",
    "answers",
    "page_schema",
    "problem_response",
]
