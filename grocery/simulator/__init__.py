"""The store simulator: physics, shoppers, lanes and tills of a chain, with faults that are labelled."""

from grocery.simulator.faults import FaultPlan, PlanError
from grocery.simulator.labels import Label, read_labels, write_labels
from grocery.simulator.simulation import Simulation, simulate

__all__ = ["FaultPlan", "Label", "PlanError", "Simulation", "read_labels", "simulate", "write_labels"]
