"""How good synthetic cells are: fidelity with intervals and floors, the right class, morphology."""
