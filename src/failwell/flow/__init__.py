"""What is learned by running a policy: every path it can take, and what follows from them."""

from failwell.flow.explore import Diverged, Exploration, explore, follow
from failwell.flow.graph import Edge, Graph, Node
from failwell.flow.path import Answer, Choice, Path
from failwell.flow.report import Report
from failwell.flow.states import transitions
from failwell.flow.trace import Recorded, match, timed

__all__ = [
    "Answer",
    "Choice",
    "Diverged",
    "Edge",
    "Exploration",
    "Graph",
    "Node",
    "Path",
    "Recorded",
    "Report",
    "explore",
    "follow",
    "match",
    "timed",
    "transitions",
]
