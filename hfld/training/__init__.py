"""How everything that learns is trained: one loop, the objective of T, and the data of H."""
