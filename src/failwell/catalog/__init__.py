"""What is known about the patterns, as data: a card each, in groups by what they do."""

from failwell.catalog.card import GROUPS, Card
from failwell.catalog.cards import CARDS
from failwell.catalog.look_up import Numbers, card, exploration, nearest, numbers

__all__ = ["CARDS", "GROUPS", "Card", "Numbers", "card", "exploration", "nearest", "numbers"]
