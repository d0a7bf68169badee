"""The few rules of style that the theme in .streamlit/config.toml has no field for."""

AFTER_SIDE = "steerscope-after-side"
"""Key of the lower part of a column; where columns stack, it comes after the column beside its own."""

SENTENCES = "steerscope-sentences"
"""Key of a list of buttons that are sentences: they begin at the left, as text does."""

STYLE = """
<style>
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
[data-testid="stMainBlockContainer"] { padding: 2.5rem 2rem 2rem; max-width: 1480px; }
[data-testid="stSidebarUserContent"] { padding-top: 0; }
/* White on the dark theme's amber would have a contrast of 2.1. */
button[kind^="primary"] { color: light-dark(#FFFFFF, #14171C); }
button[kind^="primary"]:is(:hover, :focus, :active) { color: light-dark(#FFFFFF, #14171C); }
/* Progress stays in sight while a long page is read. */
div:has(> .st-key-steerscope-status) { position: sticky; top: 0.5rem; z-index: 50; }
.st-key-steerscope-status:not(:empty) { backdrop-filter: blur(12px); border-radius: 6px; }
.st-key-steerscope-sentences button, .st-key-steerscope-sentences button > div { justify-content: flex-start; }
.st-key-steerscope-sentences button p { text-align: left; }
/* What stands beside a name or a slider stays there, however long or narrow that is. */
[class*="st-key-steerscope-strength-"], .st-key-steerscope-changes [data-testid="stHorizontalBlock"] {
  flex-wrap: nowrap;
}
[class*="st-key-steerscope-strength-"] > :first-child,
.st-key-steerscope-changes [data-testid="stHorizontalBlock"] > :first-child { flex: 1 1 0; }
[class*="st-key-steerscope-lab-step-"] [aria-label="drag_indicator icon"] { cursor: grab; touch-action: none; }
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 3rem 1rem 1rem; }
  [data-testid="stColumn"]:has(> * > * > .st-key-steerscope-after-side),
  [data-testid="stColumn"] > :has(> * > .st-key-steerscope-after-side) { display: contents; }
  [data-testid="stColumn"] > :has(> * > .st-key-steerscope-after-side) > * { flex: 0 0 100%; }
  :has(> .st-key-steerscope-after-side) { order: 1; }
}
</style>
"""


def still_box(height_px: int) -> str:
    """Where a picture will be. It does not move: drawing st.skeleton's shimmer takes a core from what is awaited."""
    look = f"height:{height_px}px;margin-bottom:1rem;border-radius:6px;background:rgba(128,136,148,.12)"
    return f'<div aria-hidden="true" style="{look}"></div>'
