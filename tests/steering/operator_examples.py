"""Examples of every steering operator, for the laws that hold for all interventions."""

import torch

from capture.hook_point import HookPoint
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from steering.methods.controller import SteerByController
from steering.methods.k_steering import GradientStep, Layer
from steering.methods.loreft import AffineLowRank
from steering.methods.project_out import ProjectOut
from steering.methods.psr import AddGated
from steering.methods.replace_direction import ReplaceDirection
from steering.methods.sadi import MultiplyEntries
from steering.recipe import Step
from steering.schedule import Schedule
from steering.token_scope import TokenScope

AT = HookPoint(1, "resid_post")
PROMPT, GENERATED, LAST, SOME = ((0, 4),), ((4, None),), ((3, 4),), ((0, 1), (3, 5), (8, None))


def vector(seed, n=32):
    return tuple(torch.randn(n, generator=torch.Generator().manual_seed(seed)).tolist())


LAYERS = (
    Layer(tuple(vector(100 + i, 8) for i in range(32)), vector(7, 8)),
    Layer(tuple(vector(200 + i, 8) for i in range(8)), vector(8, 8)),
    Layer(tuple(vector(300 + i, 3) for i in range(8)), vector(9, 3)),
)
ROTATION, WEIGHT = (
    tuple(map(tuple, rows.tolist()))
    for rows in (
        torch.linalg.qr(torch.tensor([vector(400), vector(401)]).T).Q.T,
        0.3 * torch.tensor([vector(402), vector(403)]),
    )
)
STEERING_EXAMPLES = {
    # Acts behind a prompt alone, at several hook points: tests/steering/test_controller.py has its laws.
    SteerByController: (),
    AddDirection: (
        AddDirection(AT, vector(0), 1.7),
        AddDirection(AT, vector(0), -0.3, length=12.0, ranges=GENERATED),
        AddDirection(AT, vector(1), 2.0, ranges=SOME),
    ),
    AddRows: (
        AddRows(AT, (vector(2), vector(3), vector(4)), 1.5),
        AddRows(AT, (vector(2), vector(3)), -1.0, first=4),
    ),
    ProjectOut: (
        ProjectOut(AT, vector(5)),
        ProjectOut(AT, vector(5), 0.5, ranges=PROMPT),
    ),
    ClampDirection: (
        ClampDirection(AT, vector(6), 2.5),
        ClampDirection(AT, vector(6), 0.5, 0.7, 12.0, LAST),
    ),
    ReplaceDirection: (
        ReplaceDirection(AT, vector(6), -1.5),
        ReplaceDirection(AT, vector(6), 0.5, 0.7, 12.0, SOME),
    ),
    MultiplyEntries: (
        MultiplyEntries(AT, (0, 3, 31), 2.0),
        MultiplyEntries(AT, (1,), -1.0, LAST),
    ),
    GradientStep: (
        GradientStep(AT, LAYERS, (0,), (1, 2), 0.5),
        GradientStep(AT, LAYERS, (2,), (0,), 0.3, n_steps=3, gamma=0.8, ranges=SOME),
    ),
    AddGated: (
        AddGated(AT, vector(500), vector(501), 0.5, 0.3),
        AddGated(AT, vector(502), vector(503), 40.0, -0.02, SOME),
    ),
    AffineLowRank: (
        AffineLowRank(AT, ROTATION, WEIGHT, (0.5, -1.0)),
        AffineLowRank(AT, ROTATION[:1], WEIGHT[:1], (2.0,), 0.6, SOME),
    ),
    Step: (
        Step("two", (AddDirection(AT, vector(0), 1.7), ProjectOut(AT, vector(5), 0.5)), 0.7),
        Step("relative", (AddDirection(AT, vector(1)),), -0.4, "relative", {AT: 12.0}, {1: 1.5}),
        Step(
            "ramp", (AddDirection(AT, vector(0)),), scope=TokenScope("ranges", SOME), schedule=Schedule("ramp", low=0.5)
        ),
        Step(
            "ends", (AffineLowRank(AT, ROTATION, WEIGHT, (1.0, 1.0)),), 0.8, scope=TokenScope("prompt_ends", n_ends=2)
        ),
        Step("rows", (AddRows(AT, (vector(2), vector(3)), first=1),), 2.0, method="act_add", strength_range=(0.5, 3.0)),
    ),
}
