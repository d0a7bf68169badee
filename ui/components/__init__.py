"""Our own Streamlit components: the token strip, the heat grid and the text panes."""

from ui.components.heat_grid import heat_grid
from ui.components.text_panes import Pane, text_panes
from ui.components.token_strip import token_strip

__all__ = ["Pane", "heat_grid", "text_panes", "token_strip"]
