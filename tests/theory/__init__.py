"""What must hold of simulated runs by theory: cases with known answers, and a naive simulator."""
