graph @nothing {}
