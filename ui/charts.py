"""The palette, numbers as a person would say them, and every plotly figure, drawn from plain arrays."""

SEQUENTIAL = (
    "#00204D",
    "#00336F",
    "#39486B",
    "#575C6D",
    "#707173",
    "#8A8779",
    "#A69C75",
    "#C4B56C",
    "#E4CF5B",
    "#FFEA46",
)  # cividis
DIVERGING = ("#2166AC", "#F7F7F7", "#B35806")
