"""Our own Streamlit components: the token strip and the heat grid."""

from ui.components.heat_grid import heat_grid
from ui.components.token_strip import token_strip

__all__ = ["heat_grid", "token_strip"]
