"""The `warp` swapper: the source's inner face warped onto the target's landmarks, in the target's light.

No learned weights. The source's texture is warped piecewise affine to the target's mesh, whose parts first move a
little towards the source's proportions. Hidden parts of a turned source come from its mirrored side; hair over either
face stays the target's; low frequencies of light and colour are the target's; the seam is blended by a Laplacian
pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...ops import colour, mask, mesh, mesh_warp
from ...ops.geometry import pixel_grid, sample
from ...types import Crops, Identity

_COARSE = 4  # downsampling factor for separating light from detail


@dataclass(frozen=True)
class WarpSwapper:
    """Options of the `warp` swapper; lengths are fractions of the crop side."""

    shape: float = 0.5  # 0..1 how far parts move towards the source's proportions
    light: float = 0.08  # deviation of the blur that separates light from detail
    seam: float = 0.012  # how far the seam lies inside the face's outline
    keep_eyes: bool = False  # keep the target's eyes
    keep_mouth: bool = False  # keep the target's lips and teeth
    template: str = "ffhq_512"
    sizes: tuple[int, ...] = (256, 512)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return ()

    def encode(self, identity: Identity) -> Identity:
        """The identity with only the references of weight above 0; one of them is warped, they are never mixed."""
        counts = identity.weight > 0
        return replace(
            identity,
            crops=identity.crops[counts],
            embedding=identity.embedding[counts],
            weight=identity.weight[counts],
        )

    def __call__(self, crops: Crops, identity: Identity, strength: float = 1.0) -> Crops:
        """The crops with the identity's face; the mask says where, and is scaled by the strength 0..1."""
        if not len(crops):
            return crops
        return self.onto(crops, *nearest_pose(crops.mesh, identity.crops), strength)

    def onto(self, crops: Crops, source: Tensor, source_mesh: Tensor, strength: float = 1.0) -> Crops:
        """The crops with the faces of F photos, pixels (F, 3, S, S) 0..1 and mesh (F, 468, 2) in their pixels."""
        size = crops.size
        # For a black-and-white target the source is made grey: its detail would otherwise bring colour along.
        colourless = (crops.pixels.amax(1) - crops.pixels.amin(1)).mean((1, 2)) < 0.01
        source = torch.where(colourless.view(-1, 1, 1, 1), source.mean(1, keepdim=True), source)
        shaped = proportions(source_mesh, crops.mesh, self.shape)
        features, region = self.features(shaped, size), hair_prior(shaped, size)
        face, hair = self.project_texture(source, source_mesh, shaped, features, region)
        outline = mask.hull(shaped, size) * mask.hull(crops.mesh, size)
        skin = outline * (1 - features)
        target_hair = hair_cover(crops.pixels, skin, region)
        slow = self.low_frequency(crops.pixels, skin * (1 - target_hair), size)
        lit = relight(face, self.low_frequency(face, skin * (1 - hair), size), slow, mask.eyes(shaped, size))
        cover = (mask.grow(outline, -self.seam * size) * (1 - torch.maximum(hair, target_hair))).clamp(0, 1)
        kept = self.preserved_mask(source_mesh, crops.mesh, shaped, size)
        cover = colour.gaussian_blur(cover * (1 - kept), 0.008 * size)
        blended = colour.laplacian_blend(lit, crops.pixels, cover, levels=5 if size >= 512 else 4)
        reach = mask.feather(mask.grow(cover.gt(0.02).to(cover), 0.02 * size), 0.03 * size)
        return replace(crops, pixels=blended.clamp(0, 1), mask=crops.mask * reach * strength)

    def project_texture(
        self, source: Tensor, source_mesh: Tensor, shaped: Tensor, features: Tensor, region: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The source's texture on the shaped mesh, mirrored where it is hidden, (F, 3, S, S), and how much of it is
        hair, (F, 1, S, S)."""
        size = region.shape[-1]
        other = mirror_share(source_mesh)
        values = torch.cat([source_mesh, source_mesh[:, mesh.mirror().to(source_mesh.device)], other[..., None]], -1)
        spread, inside = mesh_warp.interpolate(values, shaped, mesh.triangles().to(shaped.device), size)
        near, far, share = spread[:, :2].movedim(1, -1), spread[:, 2:4].movedim(1, -1), spread[:, 4:]
        skin = mask.grow(inside.to(source), -0.01 * size) * (1 - features)
        own, flipped = sample(source, near), sample(source, far)
        hair_own, hair_flipped = hair_cover(own, skin, region), hair_cover(flipped, skin, region)
        # Where this side is covered by hair and the mirrored side is not, the latter shows skin.
        share = torch.maximum(share, colour.gaussian_blur(hair_own * (1 - hair_flipped), 0.01 * size)).clamp(0, 1)
        level = skin * (1 - torch.maximum(hair_own, hair_flipped))
        matched = relight(
            flipped, self.low_frequency(flipped, level, size), self.low_frequency(own, level * (1 - share), size)
        )
        return own + (matched - own) * share, hair_own + (hair_flipped - hair_own) * share

    def low_frequency(self, pixels: Tensor, skin: Tensor, size: int) -> Tensor:
        """Light and colour: the skin's pixels blurred and extended over everything else, (F, 3, S, S)."""
        coarse = nnf.avg_pool2d(torch.cat([pixels * skin, skin], 1), _COARSE)  # the blur is much wider than this
        near, far = (
            colour.gaussian_blur(coarse, deviation * size / _COARSE) for deviation in (self.light, 3 * self.light)
        )
        mixed = near + 0.02 * far
        slow = mixed[:, :3] / mixed[:, 3:].clamp_min(1e-5)
        return nnf.interpolate(slow, (size, size), mode="bilinear", align_corners=False)

    def features(self, points: Tensor, size: int) -> Tensor:
        """A mask of eyes, brows and lips with a margin, (F, 468, 2) -> (F, 1, S, S) 0..1."""
        parts = mask.eyes(points, size) + mask.lips(points, size) + mask.brows(points, size)
        return colour.gaussian_blur(mask.grow(parts.clamp(0, 1), 0.02 * size), 0.008 * size)

    def preserved_mask(self, source: Tensor, target: Tensor, shaped: Tensor, size: int) -> Tensor:
        """A mask of what stays the target's within the face, (F, 1, S, S) 0..1: a mouth or eyes that are open in the
        target and shut in the source, and the parts to keep."""
        row = (-1, 1, 1, 1)
        teeth = (openness(target, "mouth") > 0.08) & (openness(source, "mouth") < 0.5 * openness(target, "mouth"))
        inner = mask.mouth(target, size) * teeth.view(row)
        shut = openness(source, "eyes") < 0.45 * openness(target, "eyes")
        lids = mask.grow(mask.eyes(target, size), 0.01 * size) * (shut.view(row) | self.keep_eyes)
        lips = mask.grow(mask.lips(target, size), 0.01 * size) * self.keep_mouth
        return torch.maximum(torch.maximum(inner, lids), lips)


def pose(points: Tensor) -> Tensor:
    """A measure of yaw and pitch, (F, 468, 2) -> (F, 2): the nose tip's position across the face and below the eyes, in
    outer-eye distances."""
    five = mesh.five(points)
    unit = mesh.interocular(points)[:, None]
    left, right = points[:, 234], points[:, 454]
    across = (right - left) / (right - left).norm(dim=-1, keepdim=True).clamp_min(1e-6)
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    nose = five[:, 2]
    turn = ((nose - (left + right) / 2) * across).sum(-1, keepdim=True) / unit
    nod = ((nose - five[:, :2].mean(1)) * down).sum(-1, keepdim=True) / unit
    return torch.cat([turn, nod], -1)


def nearest_pose(target: Tensor, references: Crops) -> tuple[Tensor, Tensor]:
    """For each face the reference with the nearest pose, as it is or mirrored, (F, 468, 2) and R references -> pixels
    (F, 3, S, S) and mesh (F, 468, 2)."""
    both = torch.cat([references.mesh, mesh.flipped(references.mesh, references.size)]).to(target)
    # Faces are not symmetric: a mirrored photo must be clearly better to be chosen.
    distance = torch.cdist(pose(target), pose(both)) + 0.12 * (torch.arange(len(both)) >= len(references)).to(target)
    best = distance.argmin(1)
    pixels = references.pixels.to(target)[best % len(references)]
    return torch.where((best >= len(references)).view(-1, 1, 1, 1), pixels.flip(-1), pixels), both[best]


def openness(points: Tensor, part: str) -> Tensor:
    """Gap between lips over mouth width, or between lids over eye width (mean of both), (F, 468, 2) -> (F,)."""
    if part == "mouth":
        pairs = (((13, 14), (78, 308)),)
    else:
        pairs = (((159, 145), (33, 133)), ((386, 374), (362, 263)))
    gaps = [
        (points[:, a] - points[:, b]).norm(dim=-1) / (points[:, c] - points[:, d]).norm(dim=-1).clamp_min(1e-6)
        for (a, b), (c, d) in pairs
    ]
    return torch.stack(gaps).mean(0)


_PARTS = (
    (33, 133, 159, 145),
    (263, 362, 386, 374),
    (70, 105, 107),
    (300, 334, 336),
    (4, 5, 2),
    (129,),
    (358,),
    (0, 17, 61, 291),
)


def proportions(source: Tensor, target: Tensor, amount: float) -> Tensor:
    """The target's mesh with eyes, brows, nose and mouth moved towards the source's proportions by `amount` 0..1,
    (F, 468, 2) twice -> (F, 468, 2).

    The source is first fitted affinely, which removes most of a difference in pose. Each part moves as a whole, so that
    the expression stays; the outline does not move. The more the poses differ, the less the parts move.
    """
    centre = target.mean(1, keepdim=True)
    centred = source - source.mean(1, keepdim=True)
    square = centred.mT @ centred + 1e-3 * torch.eye(2, device=source.device)  # not singular for a collapsed mesh
    fitted = centred @ torch.linalg.solve(square, centred.mT @ (target - centre)) + centre
    trust = torch.exp(-((pose(source) - pose(target)).norm(dim=-1) / 0.22).square())
    outline = target[:, list(mesh.OVAL)]
    centres = torch.stack([target[:, list(part)].mean(1) for part in _PARTS], 1)
    moves = torch.stack([(fitted - target)[:, list(part)].mean(1) for part in _PARTS], 1)
    moved = centres + moves * (amount * trust)[:, None, None]
    spline = mesh_warp.thin_plate(torch.cat([outline, centres], 1), torch.cat([outline, moved], 1), regularisation=1.0)
    return spline(target)


def mirror_share(source: Tensor) -> Tensor:
    """How much of each point should come from the source's mirrored side, (F, 468, 2) -> (F, 468) 0..1: 1 where the
    source shows less than a third of the area that its mirror image shows there."""
    faces = mesh.triangles().to(source.device)
    swapped = source[:, mesh.mirror().to(source.device)] * source.new_tensor([-1.0, 1.0])
    sign = _area(mesh.mean_face()[None].to(source), faces).sign()

    def shown(points: Tensor) -> Tensor:
        area = (_area(points, faces) * sign).clamp_min(0)
        total = area.new_zeros(area.shape[0], points.shape[1])
        return total.index_add(1, faces.flatten(), area.repeat_interleave(3, 1))

    own, other = shown(source), shown(swapped)
    share = (((other + 1e-3) / (own + 1e-3)).log() - 0.5).div(0.6).clamp(0, 1)
    for _ in range(3):  # smooth over the mesh
        corner = share[:, faces].mean(-1)
        total = torch.zeros_like(share).index_add(1, faces.flatten(), corner.repeat_interleave(3, 1))
        count = torch.zeros_like(share).index_add(1, faces.flatten(), torch.ones_like(corner).repeat_interleave(3, 1))
        share = total / count.clamp_min(1)
    return share


def _area(points: Tensor, faces: Tensor) -> Tensor:
    a, b, c = points[:, faces].unbind(2)
    return ((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]) / 2


def hair_prior(points: Tensor, size: int) -> Tensor:
    """Where hair may hang into a face, (F, 1, S, S) 0..1: forehead and sides, above the mouth."""
    mean = mesh.mean_face().to(points)
    ring = mean[list(mesh.OVAL)]
    distance = torch.cdist(mean, ring).amin(1)
    forehead = ((-0.2 - mean[:, 1]) / 0.12).clamp(0, 1)
    side = (1.5 - distance / 0.2).clamp(0, 1) * ((0.85 - mean[:, 1]) / 0.2).clamp(0, 1)
    prior = torch.maximum(forehead, side)
    prior[[*mesh.LEFT_BROW, *mesh.RIGHT_BROW]] = 0  # brows are hair, but come from the source
    prior = prior.view(1, -1, 1).expand(len(points), -1, -1)
    return mesh_warp.interpolate(prior, points, mesh.triangles().to(points.device), size)[0]


def hair_cover(pixels: Tensor, skin: Tensor, region: Tensor) -> Tensor:
    """How likely something other than skin covers the region, (F, 3, S, S), (F, 1, S, S) twice -> (F, 1, S, S) 0..1.

    Skin is modelled by the middle of the face: a mean colour under light that changes linearly over the face.
    """
    whole, size = region, pixels.shape[-1] // 2  # at half the resolution, since the result is blurred
    pixels, skin, region = (nnf.avg_pool2d(x, 2) for x in (pixels, skin, region))
    lab = colour.to_lab(pixels)
    middle = (skin * (1 - region)).flatten(2)
    grid = (pixel_grid(size, size, pixels.device) / size - 0.5).movedim(-1, 0).flatten(1)
    plane = torch.cat([torch.ones_like(grid[:1]), grid])  # (3, S S): 1, x, y
    flat = lab.flatten(2)
    weight, distance = middle, middle
    for _ in range(2):  # fit once to all pixels, then again without the outliers
        normal = (plane * weight) @ plane.T + 1e-3 * torch.eye(3, device=pixels.device)
        fit = torch.linalg.solve(normal, (plane * weight) @ flat.mT)  # (F, 3, 3)
        apart = flat - (plane.T @ fit).mT
        spread = ((apart.square() * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(1)).sqrt()
        distance = (apart / spread.clamp_min(pixels.new_tensor([[7.0], [3.0], [3.5]]))).square()
        # Lighter than skin is a highlight, not hair.
        distance[:, 0] = distance[:, 0] * (0.25 + 0.75 * (apart[:, 0] < 0))
        distance = distance.sum(1, keepdim=True).sqrt()
        weight = middle * (distance < 2.5)
    sure = torch.sigmoid((distance.view_as(region) - 3.2) * 2.5)
    sure = (colour.gaussian_blur(sure, 0.012 * size) * 1.6 - 0.3).clamp(0, 1)
    return nnf.interpolate(sure, whole.shape[-2:], mode="bilinear", align_corners=False) * whole


def relight(pixels: Tensor, own: Tensor, wanted: Tensor, eyes: Tensor | None = None) -> Tensor:
    """Pixels (F, 3, S, S) with their low frequencies `own` replaced by `wanted`; inside `eyes` only half of the change
    is applied."""
    gain = (wanted + 0.03) / (own + 0.03)
    if eyes is not None:
        half = gain.clamp(0.2, 4).sqrt()
        gain = gain + (half - gain) * eyes
        wanted = wanted + ((own + 0.03) * half - 0.03 - wanted) * eyes
    detail = (pixels + 0.03) / (own + 0.03)
    # Shadows scale with the light, highlights do not: those of dark skin would clip on light skin.
    bright = 1 + (detail - 1) / gain.mean(1, keepdim=True).clamp_min(1)
    return ((wanted + 0.03) * torch.minimum(detail, bright) - 0.03).clamp(0, 1)
