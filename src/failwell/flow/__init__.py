"""What is learned by running a policy: every path it can take, and what follows from them."""

from failwell.flow.explore import Exploration, explore
from failwell.flow.graph import Edge, Graph, Node
from failwell.flow.path import Answer, Choice, Path
from failwell.flow.report import Report

__all__ = ["Answer", "Choice", "Edge", "Exploration", "Graph", "Node", "Path", "Report", "explore"]
