"""What is learned by running a policy: every path it can take, and what follows from them."""

from failwell.flow.explore import Answer, Choice, Exploration, Path, explore
from failwell.flow.graph import Edge, Graph, Node
from failwell.flow.report import Report

__all__ = ["Answer", "Choice", "Edge", "Exploration", "Graph", "Node", "Path", "Report", "explore"]
