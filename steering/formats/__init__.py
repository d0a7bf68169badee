"""Files of steering vectors of other tools, one module for each; `steering.vector_file` finds and checks them."""
